/** `/v1/sandboxes/{id}` as the router of uWebSockets.js writes it: `/v1/sandboxes/:id`. */
export function toPattern(template: string): string {
  return template.replace(/\{(\w+)\}/g, ':$1');
}

/** Names of the parameters in order. */
export function paramNames(template: string): string[] {
  return [...template.matchAll(/\{(\w+)\}/g)].map((match) => match[1] as string);
}

/** Matches a path without regard to the method: tells 405 from 404. */
export function toRegExp(template: string): RegExp {
  const literal = template.split(/\{\w+\}/).map((part) => part.replace(/[.*+?^${}()|[\]\\]/g, '\\$&'));
  return new RegExp(`^${literal.join('[^/]+')}$`);
}

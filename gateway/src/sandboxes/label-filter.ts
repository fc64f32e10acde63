import { badRequest } from '../http/problems.ts';

/** `?label=name=value`, repeated: all must match. */
export function parseLabels(given: string | string[] | undefined): Record<string, string> {
  const labels: Record<string, string> = {};
  for (const text of given === undefined ? [] : [given].flat()) {
    const at = text.indexOf('=');
    if (at < 1) throw badRequest('label: must be name=value');
    labels[text.slice(0, at)] = text.slice(at + 1);
  }
  return labels;
}

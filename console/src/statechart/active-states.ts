/** A state value as XState has it: `"paused"`, `{"running": {"idle": "armed", "operation": "none"}}`. */
export type StateValue = string | { readonly [name: string]: StateValue };

/** Dotted paths of all active states, the enclosing ones included. */
export function activeStates(value: unknown): Set<string> {
  const paths = new Set<string>();
  const walk = (part: StateValue | null | undefined, prefix: string) => {
    if (part === null || part === undefined) return;
    if (typeof part === 'string') {
      if (part !== '') paths.add(prefix + part);
      return;
    }
    for (const [name, below] of Object.entries(part)) {
      paths.add(prefix + name);
      walk(below, `${prefix}${name}.`);
    }
  };
  walk(value as StateValue | null | undefined, '');
  return paths;
}

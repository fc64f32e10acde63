/** Something that is not as it should be, and the sandboxes or VMs that it is about. */
export interface Finding {
  /** Names its invariant (I1 to I8), or `lost`. */
  readonly line: string;
  readonly ids: readonly string[];
}

/** How many of them a line names. */
const NAMED = 5;

/** Nothing where there are no items. */
export function findings(what: string, items: readonly string[], ids: readonly string[] = items): Finding[] {
  if (items.length === 0) return [];
  return [{ line: `${what}: ${items.length} (${items.slice(0, NAMED).join(', ')})`, ids }];
}

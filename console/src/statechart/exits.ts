import type { Edge } from './edges.ts';

/** From so many states a way into one is no news: it is shown where it can be taken, and not laid out. */
const MANY = 4;

/**
 * States that nearly every other one can fall into (stopping, error…), and from which few ways lead on. Lines from
 * everywhere into them would hide the life that the chart is about.
 */
export function exitStates(edges: readonly Edge[]): Set<string> {
  const sources = neighbours(edges, 'target', 'source');
  const targets = neighbours(edges, 'source', 'target');
  const exits = new Set<string>();
  for (const [state, from] of sources) {
    const on = targets.get(state)?.size ?? 0;
    if (from.size >= MANY && (on <= from.size / 2 || LOST.test(state))) exits.add(state);
  }
  return exits;
}

/** Out of these many ways lead back, and still nobody means to get there. */
const LOST = /(^|\.)(missing|unreachable)$/;

/** Whether an edge is such a line. Ways between exits are ordinary ones. */
export function isExit({ source, target }: Edge, exits: ReadonlySet<string>): boolean {
  return exits.has(target) && !exits.has(source);
}

function neighbours(edges: readonly Edge[], of: 'source' | 'target', to: 'source' | 'target') {
  const found = new Map<string, Set<string>>();
  for (const edge of edges) {
    const set = found.get(edge[of]) ?? new Set();
    set.add(edge[to]);
    found.set(edge[of], set);
  }
  return found;
}

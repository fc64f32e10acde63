import { drawnStates, settledTargets } from './drawn-states.ts';
import { type MachineData, statesOf } from './machine-data.ts';

/**
 * What leads from one state to another, drawn as one line. A sandbox has two hundred transitions, but few ways: all that
 * lead out of one box and into another beside it are one, wherever inside the boxes they begin and end.
 */
export interface Edge {
  /** `source>target`. */
  readonly id: string;
  /** Two boxes beside each other, in the same box. */
  readonly source: string;
  readonly target: string;
  readonly transitions: readonly EdgeTransition[];
}

export interface EdgeTransition {
  /** Event type, or the name of the delay. */
  readonly event: string;
  /** Whether time is the event. */
  readonly timed: boolean;
  /** Where it really begins and ends: inside the boxes, or they themselves. */
  readonly from: string;
  readonly to: string;
}

/** Name of the event of a transition that is taken at once. */
export const ALWAYS = 'at once';

/** All ways of a machine, in its order. What stays where it is, or leads into the state's own inside, has none. */
export function edgesOf(machine: MachineData): Edge[] {
  const byPath = new Map(statesOf(machine).map((state) => [state.path, state]));
  const edges = new Map<string, { source: string; target: string; transitions: EdgeTransition[] }>();
  for (const state of drawnStates(machine)) {
    for (const { event, delay, targets } of state.transitions) {
      for (const to of targets.flatMap((target) => settledTargets(byPath, target))) {
        const ends = besideEachOther(state.path, to);
        if (!ends) continue;
        const id = ends.join('>');
        const edge = edges.get(id) ?? { source: ends[0], target: ends[1], transitions: [] };
        edge.transitions.push({
          event: delay ?? (event === '' ? ALWAYS : event),
          timed: delay !== undefined,
          from: state.path,
          to,
        });
        edges.set(id, edge);
      }
    }
  }
  return [...edges].map(([id, edge]) => ({ id, ...edge }));
}

/** The boxes beside each other that hold the two; null where one holds the other. */
function besideEachOther(source: string, target: string): [string, string] | null {
  const [from, to] = [source.split('.'), target.split('.')];
  let depth = 0;
  while (depth < from.length && depth < to.length && from[depth] === to[depth]) depth++;
  if (depth === from.length || depth === to.length) return null;
  return [from.slice(0, depth + 1).join('.'), to.slice(0, depth + 1).join('.')];
}

/** Names of an edge's events, each once. */
export function eventsOf({ transitions }: Edge): string[] {
  return [...new Set(transitions.map(({ event }) => event))];
}

import { activeStates } from './active-states.ts';
import type { Edge } from './edges.ts';

/** A transition of a journal: where from, where to, and by which event (a deadline by the name of its delay). */
export interface Step {
  readonly from: unknown;
  readonly to: unknown;
  readonly event: string;
}

/**
 * The ways that a step took: those with a transition of its event from a state that was active to one that is now and was
 * not before. Several, where parallel regions moved together.
 */
export function takenEdges(edges: readonly Edge[], { from, to, event }: Step): Set<string> {
  const left = activeStates(from);
  const entered = activeStates(to);
  const taken = edges.filter(
    ({ target, transitions }) =>
      entered.has(target) &&
      !left.has(target) &&
      transitions.some((one) => one.event === event && left.has(one.from) && entered.has(one.to)),
  );
  return new Set(taken.map(({ id }) => id));
}

import { type MachineData, type StateData, statesOf } from './machine-data.ts';

/** Left in the same step in which it is entered: nobody is ever seen in it, so it is not drawn. */
export function isTransient({ states, transitions }: StateData): boolean {
  return (
    states.length === 0 &&
    transitions.length > 0 &&
    transitions.every(({ event, delay }) => event === '' && delay === undefined)
  );
}

/** The states that a chart shows, parents before their children. */
export function drawnStates(machine: MachineData): StateData[] {
  return statesOf(machine).filter((state) => !isTransient(state));
}

/** Where a transition to `path` ends up: through states that are left at once, to those that may follow. */
export function settledTargets(states: ReadonlyMap<string, StateData>, path: string, seen: string[] = []): string[] {
  const state = states.get(path);
  if (!state || seen.includes(path)) return [path];
  if (isTransient(state)) {
    const next = state.transitions.flatMap(({ targets }) => targets);
    return [...new Set(next.flatMap((target) => settledTargets(states, target, [...seen, path])))];
  }
  return [path];
}

import type { MachineData, StateData } from '@wrenn/actors';

/**
 * Why an actor does not take a command now, read from its machine: the states that would take it, or the conditions that
 * do not hold in the one it is in. `path`: its active leaf states, joined by `+`.
 */
export function whyNot(machine: MachineData, path: string, command: string): string {
  const takers = takersOf(machine.root, command);
  if (takers.length === 0) return 'No state of it takes this.';
  const leaves = path.split('+');
  const isActive = ({ path }: Taker) => leaves.some((leaf) => isWithin(leaf, path));
  const elsewhere = namesOf(takers.filter((taker) => !isActive(taker)).map((taker) => taker.path));
  const present = namesOf(leaves.map((leaf) => leaf.split('.', 1)[0] ?? ''));
  const guards = namesOf(
    takers.filter(isActive).flatMap((taker) => taker.guards),
    ' and ',
  );
  if (!takers.some(isActive)) return `Possible in ${elsewhere}; it is ${present}.`;
  if (guards === '') return 'It is busy with something else.';
  const condition = `it is ${present}, ${guards} must hold.`;
  return elsewhere === '' ? `While ${condition}` : `Possible in ${elsewhere}; while ${condition}`;
}

function namesOf(names: readonly string[], joint = ', '): string {
  return [...new Set(names)].join(joint);
}

interface Taker {
  readonly path: string;
  readonly guards: readonly string[];
}

function takersOf(state: StateData, command: string): Taker[] {
  const own = state.transitions.filter(({ event }) => event === command);
  return [
    ...own.map(({ guards }) => ({ path: state.path, guards })),
    ...state.states.flatMap((child) => takersOf(child, command)),
  ];
}

/** The root, whose path is empty, encloses every state. */
function isWithin(leaf: string, state: string): boolean {
  return state === '' || leaf === state || leaf.startsWith(`${state}.`);
}

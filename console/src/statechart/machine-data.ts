/** The statechart of `GET /v1/machines/{kind}/{version}`, as far as the console draws it. */
export interface TransitionData {
  /** Event type; empty for a deadline or a transition that is taken at once. */
  readonly event: string;
  /** Name of the delay, where time is the event. */
  readonly delay?: string;
  /** Dotted paths; none = it stays where it is. */
  readonly targets: readonly string[];
  readonly guards: readonly string[];
  readonly actions: readonly string[];
  readonly reenter: boolean;
}

export interface StateData {
  readonly key: string;
  /** Dotted path from the root; empty for the root. */
  readonly path: string;
  readonly type: 'atomic' | 'compound' | 'parallel' | 'final' | 'history';
  readonly description?: string;
  readonly initial?: string;
  readonly tags: readonly string[];
  readonly entry: readonly string[];
  readonly exit: readonly string[];
  readonly transitions: readonly TransitionData[];
  readonly states: readonly StateData[];
}

export interface MachineData {
  readonly kind: string;
  readonly version: number;
  readonly root: StateData;
  readonly commands: readonly { readonly type: string; readonly title?: string; readonly destructive?: boolean }[];
  readonly effects: readonly { readonly name: string; readonly while: string; readonly results: readonly string[] }[];
  /** Milliseconds, or null where it depends on the context. */
  readonly delays: Readonly<Record<string, number | null>>;
}

/** Every state below the root, parents before their children. */
export function statesOf(machine: MachineData): StateData[] {
  const walk = (state: StateData): StateData[] => state.states.flatMap((child) => [child, ...walk(child)]);
  return walk(machine.root);
}

/** Paths of the states that are ends. */
export function finalStates(machine: MachineData): ReadonlySet<string> {
  const ends = statesOf(machine).filter(({ type }) => type === 'final');
  return new Set(ends.map(({ path }) => path));
}

/** Path of the enclosing state; empty for one at the top. */
export function parentPath(path: string): string {
  return path.includes('.') ? path.slice(0, path.lastIndexOf('.')) : '';
}

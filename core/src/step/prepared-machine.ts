import {
  type AnyMachineSnapshot,
  type AnyStateMachine,
  type AnyStateNode,
  type EventObject,
  StateMachine,
} from 'xstate';
import type { ActorDefinition, EventMeta } from '../definition.ts';

/** What one call of the machine did, in order. */
export type Happening =
  | { readonly type: 'entered' | 'exited'; readonly node: string }
  | { readonly type: 'timer'; readonly name: string; readonly delayMs: number }
  | { readonly type: 'cancel'; readonly name: string }
  | { readonly type: 'action'; readonly action: string; readonly params: unknown };

export interface MachineStep {
  readonly snapshot: AnyMachineSnapshot;
  readonly happenings: readonly Happening[];
  /** False when no state listed the event, or its guards refused it: nothing changed. */
  readonly handled: boolean;
}

interface Executable {
  readonly type: string;
  readonly params?: unknown;
  readonly exec?: unknown;
}

type Marker = (() => void) & { readonly happening: Happening };

/**
 * A definition's machine made ready for stepping: XState as a function without clock, children or side effects.
 *
 * - It is a copy of its own, so that what is added here is seen by nobody else.
 * - Nodes that effects depend on get markers on entry and exit: a state that is re-entered looks the same before and
 *   after, and only the markers tell that it is a new visit.
 * - Every event that a machine sees carries `meta`: also `xstate.init`, done events and raised ones.
 * - An own scope instead of `transition()` of the library, which makes an actor (and runs the context factory with an
 *   undefined input) at each call.
 */
export class PreparedMachine {
  readonly definition: ActorDefinition;
  readonly #machine: AnyStateMachine;
  /** Delayed event type → delay's name and state node. */
  readonly #delays = new Map<string, { delay: string; node: string }>();
  #meta: EventMeta | null = null;
  #handled: boolean | null = null;
  #happenings: Happening[] = [];
  readonly #scope: object;

  constructor(definition: ActorDefinition) {
    this.definition = definition;
    this.#machine = definition.machine.provide({});
    const select = this.#machine.getTransitionData.bind(this.#machine);
    this.#machine.getTransitionData = (snapshot: AnyMachineSnapshot, event: EventObject) => {
      if (this.#meta) (event as { meta?: EventMeta }).meta = this.#meta;
      const transitions = select(snapshot, event as never);
      this.#handled ??= transitions.some(({ target, actions }) => target !== undefined || actions.length > 0);
      return transitions;
    };
    const self = { id: definition.kind, send: () => undefined };
    this.#scope = {
      self,
      id: definition.kind,
      sessionId: definition.kind,
      logger: () => undefined,
      defer: () => undefined,
      emit: () => undefined,
      stopChild: () => undefined,
      system: { _sendInspectionEvent: () => undefined },
      actionExecutor: (action: Executable) => this.#record(action),
    };
    this.#collectDelays(this.#machine.root);
    const nodes = new Set(Object.values(definition.effects).map(({ while: node }) => node));
    for (const node of nodes) this.#mark(this.nodeAt(node), node);
  }

  /** The state node at a dotted path; throws when the machine has none. */
  nodeAt(path: string): AnyStateNode {
    let node: AnyStateNode = this.#machine.root;
    for (const key of path === '' ? [] : path.split('.')) {
      const child = node.states[key];
      if (!child)
        throw new Error(`${this.definition.kind}: an effect names the state ${path}, which is not in the machine`);
      node = child;
    }
    return node;
  }

  /** Delay's name and node of a delayed event. */
  delayOf(eventType: string): { delay: string; node: string } {
    return this.#delays.get(eventType) ?? { delay: eventType, node: '' };
  }

  /** The first transition: the machine's initial state for this input. Its entry actions see `event.input` and `event.meta`. */
  start(input: unknown, meta: EventMeta): MachineStep {
    const machine = this.#machine;
    // The init event is made inside `getInitialSnapshot`; this is the first place where it can be given its meta.
    const withMeta = Object.create(machine) as AnyStateMachine & {
      _getPreInitialState: (...args: unknown[]) => unknown;
    };
    withMeta._getPreInitialState = (scope, event, queue) => {
      (event as { meta: EventMeta }).meta = meta;
      return (machine as unknown as typeof withMeta)._getPreInitialState(scope, event, queue);
    };
    const start = StateMachine.prototype.getInitialSnapshot as (scope: object, input: unknown) => AnyMachineSnapshot;
    return this.#run(meta, true, () => start.call(withMeta, this.#scope, input));
  }

  /** One event. Pure: the snapshot given is not changed. */
  step(snapshot: AnyMachineSnapshot, event: EventObject, meta: EventMeta): MachineStep {
    const stamped = { ...event, meta };
    return this.#run(meta, null, () =>
      this.#machine.transition(snapshot as never, stamped as never, this.#scope as never),
    );
  }

  /** Whether the event would cause anything. A guard that needs fields which are not there counts as willing. */
  can(snapshot: AnyMachineSnapshot, event: EventObject, meta: EventMeta): boolean {
    try {
      this.#meta = meta;
      return snapshot.status === 'active' && snapshot.can({ ...event, meta } as never);
    } catch {
      return true;
    } finally {
      this.#meta = null;
    }
  }

  /** A live snapshot of a persisted one. (`resolveState` would lose history and children.) */
  restore(persisted: object): AnyMachineSnapshot {
    const whole = { status: 'active', historyValue: {}, ...persisted, children: {} };
    return this.#machine.restoreSnapshot(whole as never, this.#scope as never) as AnyMachineSnapshot;
  }

  /** The part of a snapshot that must be stored. */
  persist(snapshot: AnyMachineSnapshot): object {
    const { status, value, context, historyValue, output } = this.#machine.getPersistedSnapshot(
      snapshot,
    ) as unknown as {
      [key: string]: unknown;
    };
    const history = Object.keys(historyValue as object).length > 0 ? { historyValue } : {};
    return { status, value, context, ...history, ...(output === undefined ? {} : { output }) };
  }

  #run(meta: EventMeta, handled: boolean | null, run: () => AnyMachineSnapshot): MachineStep {
    this.#meta = meta;
    this.#handled = handled;
    this.#happenings = [];
    try {
      const snapshot = run();
      if (snapshot.status === 'error') throw snapshot.error;
      return { snapshot, happenings: this.#happenings, handled: this.#handled ?? false };
    } finally {
      this.#meta = null;
    }
  }

  #record({ type, params, exec }: Executable): void {
    const happening = (exec as Marker | undefined)?.happening;
    if (happening) this.#happenings.push(happening);
    else if (type === 'xstate.raise') {
      const { event, delay, id } = params as { event: EventObject; delay?: number; id?: string };
      if (delay !== undefined) this.#happenings.push({ type: 'timer', name: id ?? event.type, delayMs: delay });
    } else if (type === 'xstate.cancel') {
      this.#happenings.push({ type: 'cancel', name: (params as { sendId: string }).sendId });
    } else if (!type.startsWith('xstate.')) this.#happenings.push({ type: 'action', action: type, params });
  }

  #collectDelays(node: AnyStateNode): void {
    for (const { eventType, delay } of node.after) {
      this.#delays.set(eventType, { delay: String(delay), node: node.path.join('.') });
    }
    for (const child of Object.values(node.states)) this.#collectDelays(child as AnyStateNode);
  }

  #mark(node: AnyStateNode, path: string): void {
    node.entry.unshift(marker({ type: 'entered', node: path }) as never);
    node.exit.push(marker({ type: 'exited', node: path }) as never);
  }
}

function marker(happening: Happening): Marker {
  return Object.assign(() => undefined, { happening });
}

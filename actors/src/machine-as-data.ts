import type { ActorDefinition, AnyStateNode, CommandSpec, Json, RetryPolicy } from '@wrenn/core';

/** A transition as the console draws it: names only, no functions. */
export type TransitionData = {
  /** Event type; empty for a transition that is taken at once (`always`). */
  event: string;
  /** Name of the delay, where the event is a deadline. */
  delay?: string;
  /** Dotted paths; none = stays where it is. */
  targets: string[];
  /** All of these must hold. */
  guards: string[];
  actions: string[];
  reenter: boolean;
};

export type StateData = {
  key: string;
  /** Dotted path from the root; empty for the root. */
  path: string;
  type: 'atomic' | 'compound' | 'parallel' | 'final' | 'history';
  description?: string;
  initial?: string;
  tags: string[];
  /** Names of entry and exit actions; an effect as `effect vm.create`. */
  entry: string[];
  exit: string[];
  transitions: TransitionData[];
  states: StateData[];
};

export type MachineData = {
  kind: string;
  version: number;
  root: StateData;
  commands: ({ type: string } & CommandSpec)[];
  effects: { name: string; while: string; results: string[]; retry: RetryPolicy }[];
  /** Milliseconds, or null where it depends on the context. */
  delays: Record<string, number | null>;
};

/**
 * The statechart of a definition as JSON: for `GET /machines/{kind}/{version}`, the console's drawing and the tables in
 * the READMEs. It is read from the machine itself, so that nothing else can say what it does.
 */
export function machineAsData(definition: ActorDefinition): MachineData {
  const { kind, version, machine, commands, effects } = definition;
  const delays = machine.implementations.delays as Record<string, unknown>;
  return {
    kind,
    version,
    root: stateData(machine.root),
    commands: Object.entries(commands).map(([type, spec]) => ({ type, ...spec })),
    effects: Object.entries(effects).map(([name, effect]) => ({
      name,
      while: effect.while,
      results: [...effect.results],
      retry: effect.retry,
    })),
    delays: Object.fromEntries(
      Object.entries(delays).map(([name, delay]) => [name, typeof delay === 'number' ? delay : null]),
    ),
  };
}

function stateData(node: AnyStateNode): StateData {
  const initial = node.type === 'compound' ? (node.config.initial as string | undefined) : undefined;
  return {
    key: node.key,
    path: pathOf(node),
    type: node.type,
    ...(node.description !== undefined && { description: node.description }),
    ...(initial !== undefined && { initial }),
    tags: [...node.tags],
    entry: namesOf(node.entry),
    exit: namesOf(node.exit),
    transitions: transitionsOf(node),
    states: Object.values(node.states).map(stateData),
  };
}

type Transition = AnyStateNode['after'][number] | NonNullable<AnyStateNode['always']>[number];

function transitionsOf(node: AnyStateNode): TransitionData[] {
  const delayOf = new Map(node.after.map(({ eventType, delay }) => [eventType, String(delay)]));
  const listed = [...(node.always ?? []), ...[...node.transitions.values()].flat()] as Transition[];
  return listed.map(({ eventType, target, guard, actions, reenter }) => {
    const delay = delayOf.get(eventType as never);
    return {
      event: delay === undefined ? eventType : '',
      ...(delay !== undefined && { delay }),
      targets: (target ?? []).map(pathOf),
      guards: guardNames(guard),
      actions: namesOf(actions),
      reenter,
    };
  });
}

const pathOf = (node: AnyStateNode): string => node.path.join('.');

/** `and([...])` is a list of names; other compositions are not used by our machines. */
function guardNames(guard: unknown): string[] {
  if (guard === undefined || guard === null) return [];
  if (typeof guard === 'string') return [guard];
  const { type, guards } = guard as { type?: string; guards?: unknown[] };
  return guards ? guards.flatMap(guardNames) : [type ?? 'unnamed'];
}

/** Without XState's own (`xstate.raise` arms a deadline, which stands among the transitions). */
const namesOf = (actions: readonly unknown[]): string[] =>
  actions.map(actionName).filter((name) => !name.startsWith('xstate.'));

/** The action's name, with the part of its parameters that tells which. */
function actionName(action: unknown): string {
  if (typeof action === 'string') return action;
  const { type, params } = action as { type: string; params?: { [name: string]: Json } };
  if (!params || typeof params !== 'object') return type;
  const detail = params.name ?? params.action ?? params.code ?? params.status ?? params.undo;
  return typeof detail === 'string' ? `${type} ${detail}` : type;
}

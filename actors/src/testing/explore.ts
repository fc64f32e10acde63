import assert from 'node:assert/strict';
import type {
  ActorDefinition,
  AnyMachineSnapshot,
  AnyStateMachine,
  AnyStateNode,
  DomainEvent,
  EventMeta,
} from '@wrenn/core';
import { getAdjacencyMap, getShortestPaths, getStateNodes } from 'xstate/graph';
import { ActorInMemory, Clock } from './actor-in-memory.ts';
import { checkActor, checkReplay } from './invariants.ts';

const META: EventMeta = { id: 'explore', at: new Clock().now, cause: { type: 'system' } };

interface Model<Context> {
  readonly definition: ActorDefinition<Context>;
  readonly id: string;
  readonly create: DomainEvent;
  /** Events of all kinds and contents that matter; deadlines are added from the machine. */
  readonly events: readonly DomainEvent[];
  /** The parts of the context that guards look at. */
  readonly distinguish: (context: Context) => unknown;
}

type Step = { readonly from: string; readonly event: DomainEvent };

/** What was found by walking the machine's graph. */
export interface Explored {
  /** State nodes that some path reaches. */
  readonly states: ReadonlySet<string>;
  readonly paths: number;
  readonly edges: number;
  /** Transitions that no edge took, as `state · EVENT #index`. */
  readonly untaken: readonly string[];
}

/**
 * Walks all states that the events and deadlines reach (`xstate/graph`), then goes every shortest path with one more
 * event at its end through core's step, and checks the invariants after each commit.
 */
export function explore<Context>(model: Model<Context>): Explored {
  const machine = model.definition.machine;
  const stamped = model.events.map((event) => ({ ...event, meta: META }));
  const options = {
    input: model.definition.input({ ...model.create, meta: META } as never, {
      kind: model.definition.kind,
      id: model.id,
    }),
    events: (state: AnyMachineSnapshot) => [...stamped, ...deadlines(state)],
    serializeState: (state: AnyMachineSnapshot) =>
      JSON.stringify([state.value, model.distinguish(state.context as Context)]) as never,
    // The context differs within one serialized state (waiters, reports): the first one found stands for all.
    limit: 200_000,
  };
  const map = getAdjacencyMap(machine as never, options as never) as unknown as Record<
    string,
    { state: AnyMachineSnapshot }
  >;
  const paths = getShortestPaths(machine as never, options as never) as unknown as {
    state: AnyMachineSnapshot;
    steps: { event: DomainEvent; state: AnyMachineSnapshot }[];
  }[];
  const states = new Set(Object.values(map).flatMap(({ state }) => state._nodes.map(pathOf)));
  const taken = new Set<object>();
  let edges = 0;
  for (const path of paths) {
    const way = path.steps.map(({ event }) => event).filter(({ type }) => type !== 'xstate.init');
    const actor = walk(model, way);
    checkReplay(actor as never);
    checkGiveUps(actor as never, way);
    for (const event of [...stamped, ...deadlines(path.state)]) {
      const chosen = machine.getTransitionData(path.state as never, event as never);
      if (chosen.length === 0) continue;
      for (const transition of chosen) taken.add(transition);
      edges += 1;
      walk(model, [...way, event as DomainEvent]);
    }
  }
  const untaken = transitionsOf(machine).flatMap(({ name, transition }) => (taken.has(transition) ? [] : [name]));
  return { states, paths: paths.length, edges, untaken };
}

/** All state nodes but the transient ones, in which no actor ever rests. */
export function statesOf(machine: AnyStateMachine): string[] {
  return getStateNodes(machine)
    .filter((node) => node.always === undefined || node.always.length === 0)
    .map(pathOf);
}

/** State nodes without nodes inside, final ones among them. */
export function leavesOf(machine: AnyStateMachine): string[] {
  const all = statesOf(machine);
  return all.filter((state) => state !== '' && !all.some((other) => other.startsWith(`${state}.`)));
}

/** Atomic state nodes that are work, with the delays that limit them: their own and those of the states around them. */
export function deadlinesOf(machine: AnyStateMachine): { state: string; delays: string[] }[] {
  return getStateNodes(machine)
    .filter((node) => node.type === 'atomic' && (node.always?.length ?? 0) === 0)
    .flatMap((node) => {
      const chain: AnyStateNode[] = [];
      for (let up: AnyStateNode | undefined = node; up; up = up.parent) chain.push(up);
      if (!chain.some(({ tags }) => tags.includes('work'))) return [];
      return [{ state: pathOf(node), delays: chain.flatMap(({ after }) => after.map(({ delay }) => String(delay))) }];
    });
}

/** Every way is checked at its end; its beginnings are ways of their own. */
function walk<Context>(model: Model<Context>, events: readonly DomainEvent[]): ActorInMemory<Context> {
  const actor = new ActorInMemory(model.definition, model.id);
  const trace: Step[] = [];
  try {
    actor.send(model.create);
    for (const event of events) {
      trace.push({ from: actor.path, event });
      deliver(actor, event);
    }
    checkActor(actor as never);
    return actor;
  } catch (error) {
    const steps = trace.map(({ from, event: { meta: _, ...event } }) => `${from}: ${JSON.stringify(event)}`);
    throw new Error(`after\n  ${steps.join('\n  ')}`, { cause: error });
  }
}

/** An effect that cannot go on any more always leads somewhere (I3): no state may leave its give-up unheard. */
function checkGiveUps(actor: ActorInMemory, way: readonly DomainEvent[]): void {
  for (const { name, input } of actor.effects) {
    const event = actor.definition.effects[name]?.gaveUp({ code: 'given_up', message: '' }, input) as DomainEvent;
    const chosen = actor.definition.machine.getTransitionData(
      actor.snapshot as never,
      { ...event, meta: META } as never,
    );
    const where = `${actor.path} after ${way.map(({ type }) => type).join(', ')}`;
    assert.notEqual(chosen.length, 0, `the give-up of ${name} (${event.type}) is not taken in ${where}`);
  }
}

/** Results go with the key of the effect that they close, deadlines through their timers. */
function deliver(actor: ActorInMemory, event: DomainEvent): void {
  const timer = actor.timers.find(({ name }) => name === event.type);
  if (timer) {
    actor.fireTimer(timer);
    return;
  }
  const { meta: _, ...plain } = event;
  const open = actor.effects.find(({ name }) => actor.definition.effects[name]?.results.includes(event.type));
  actor.send(plain as DomainEvent, open ? { effectKey: actor.keyOf(open) } : {});
}

function deadlines(state: AnyMachineSnapshot): DomainEvent[] {
  return state._nodes.flatMap(({ after }) => after.map(({ eventType }) => ({ type: eventType, meta: META as never })));
}

function transitionsOf(machine: AnyStateMachine): { name: string; transition: object }[] {
  return getStateNodes(machine).flatMap((node) =>
    [...node.transitions].flatMap(([event, list]) =>
      list.map((transition, index) => ({ name: `${pathOf(node)} · ${event} #${index}`, transition })),
    ),
  );
}

const pathOf = (node: AnyStateNode): string => node.path.join('.');

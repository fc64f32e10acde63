import type { DomainEvent, EventMeta, Stamped } from '../definition.ts';
import type { ActorState, EffectRow, Envelope } from './actor-state.ts';
import type { Changes } from './changes.ts';
import { Draft } from './draft.ts';
import { unmovedEntry } from './entry.ts';
import type { PreparedMachine } from './prepared-machine.ts';
import { effectNumber } from './refs.ts';
import { refuse } from './refuse.ts';

/** A system message that asks for one more round of attempts of a parked or waiting effect. */
export const RETRY_EFFECT = 'wrenn.retry_effect';

/**
 * Applies one message to one actor: the pure step, its fences (visits of timers, open effects) and everything it causes,
 * as rows. When a function of the definition throws, neither `state` nor `changes` has moved.
 */
export function stepActor(
  machine: PreparedMachine,
  state: ActorState,
  envelope: Envelope,
  now: number,
  changes: Changes,
): void {
  const at = Math.max(now, state.updatedAt);
  const timer = envelope.timer && state.timers.get(envelope.timer.name);
  const effect = openEffect(state, envelope);
  const isLate = timer?.visit !== envelope.timer?.visit || (envelope.effectKey !== undefined && effect === undefined);
  if (isLate) {
    refuse(machine, state, envelope, at, changes, 'late');
  } else if (envelope.event.type === RETRY_EFFECT && effect) {
    retryEffect(state, envelope, effect, at, changes);
  } else {
    const closed = effect && closes(machine, effect, envelope.event) ? effect : undefined;
    const meta = metaOf(envelope, at);
    const isActive = state.snapshot.status === 'active';
    const result = isActive ? machine.step(state.snapshot, envelope.event, meta) : null;
    if (result?.handled) {
      const draft = new Draft(machine, state, envelope, meta);
      if (timer) draft.clearTimer(timer.name);
      if (closed) draft.closeEffect(closed.number);
      draft.read(result.happenings, result.snapshot);
      draft.commit(result, changes);
    } else {
      refuse(
        machine,
        state,
        envelope,
        at,
        changes,
        machine.definition.commands[envelope.event.type] ? 'refused' : 'late',
      );
      if (timer) clearTimer(state, changes, timer.name);
      if (closed) park(state, changes, closed);
    }
  }
}

/** The first step of an actor: its machine's initial state. Throws, changing nothing, when the machine refuses the input. */
export function createActor(machine: PreparedMachine, envelope: Envelope, at: number, changes: Changes): ActorState {
  const { definition } = machine;
  const meta = metaOf(envelope, at);
  const event = { ...envelope.event, meta } as Stamped<DomainEvent>;
  const result = machine.start(definition.input(event, envelope.to), meta);
  const state: ActorState = {
    ref: envelope.to,
    seq: 0,
    snapshot: result.snapshot,
    machineVersion: definition.version,
    ledger: { counter: 0, visits: {}, owed: [] },
    timers: new Map(),
    effects: new Map(),
    createdAt: at,
    since: at,
    updatedAt: at,
    path: '',
    teamId: null,
    publicContext: null,
  };
  const draft = new Draft(machine, state, envelope, meta);
  draft.read(result.happenings, result.snapshot);
  draft.commit(result, changes);
  return state;
}

/** What a machine sees of a message beside the event itself. */
function metaOf({ id, cause, effectKey }: Envelope, at: number): EventMeta {
  return effectKey === undefined ? { id, at, cause } : { id, at, cause, effectKey };
}

function openEffect(state: ActorState, { effectKey }: Envelope): EffectRow | undefined {
  const number = effectKey === undefined ? null : effectNumber(state.ref, effectKey);
  return number === null ? undefined : state.effects.get(number);
}

/** True when the event is a result of the effect or its give-up; other events with its key are reports on the way. */
function closes(machine: PreparedMachine, effect: EffectRow, { type }: DomainEvent): boolean {
  const definition = machine.definition.effects[effect.name];
  if (!definition || definition.results.includes(type)) return true;
  return definition.gaveUp({ code: 'given_up', message: '' }, effect.input).type === type;
}

function retryEffect(state: ActorState, envelope: Envelope, effect: EffectRow, at: number, changes: Changes): void {
  const open: EffectRow = { ...effect, status: 'open', attempts: 0, nextAttemptAt: at };
  state.seq += 1;
  state.updatedAt = at;
  state.effects.set(effect.number, open);
  changes.setEffect(open);
  changes.entries.push(unmovedEntry(state, envelope, at, 'transition'));
}

/** A result that no state takes is a fault of the machine; the effect stays visible, with the reason. */
function park(state: ActorState, changes: Changes, effect: EffectRow): void {
  const lastError = { code: 'unexpected_result', message: 'the machine did not take its result' };
  const parked: EffectRow = { ...effect, status: 'parked', nextAttemptAt: null, lastError };
  state.effects.set(effect.number, parked);
  changes.setEffect(parked);
}

function clearTimer(state: ActorState, changes: Changes, name: string): void {
  state.timers.delete(name);
  changes.clearTimer(name);
}

import type { Answer } from '../definition.ts';
import type { ActorState, Envelope } from '../step/actor-state.ts';
import { Changes } from '../step/changes.ts';
import type { PreparedMachine } from '../step/prepared-machine.ts';
import { effectNumber } from '../step/refs.ts';
import { createActor, stepActor } from '../step/step.ts';
import { actorRow } from '../step/stored-actor.ts';
import type { Queued, Resident } from './resident.ts';
import type { ActorCommit } from './store.ts';

/** What became of the messages that were taken from a mailbox. */
export interface Fold {
  /** Null when none of them changes the actor. */
  readonly commit: ActorCommit | null;
  /** Those that the commit accepts. */
  readonly taken: readonly Queued[];
  /** Those for an actor that does not exist. */
  readonly unaddressed: readonly Queued[];
  /** One that a function of the definition threw at: it changed nothing. */
  readonly poison: { readonly queued: Queued; readonly error: unknown } | null;
  /** Those behind the poison, for the next commit. */
  readonly left: readonly Queued[];
}

/** Applies messages to an actor one after the other, gathering one commit. Moves `resident.state`. */
export function fold(
  machine: PreparedMachine,
  resident: Resident,
  messages: readonly Queued[],
  now: number,
  epoch: number,
): Fold {
  const changes = new Changes();
  const fromSeq = resident.state?.seq ?? 0;
  const taken: Queued[] = [];
  const unaddressed: Queued[] = [];
  let poison: Fold['poison'] = null;
  let left: readonly Queued[] = [];
  for (const [i, queued] of messages.entries()) {
    const { envelope } = queued;
    try {
      if (resident.state) stepActor(machine, resident.state, envelope, now, changes);
      else if (machine.definition.commands[envelope.event.type]?.creates) {
        resident.state = createActor(machine, envelope, now, changes);
      } else {
        unaddressed.push(queued);
        continue;
      }
      taken.push(queued);
    } catch (error) {
      poison = { queued, error };
      left = messages.slice(i + 1);
      break;
    }
  }
  const commit =
    resident.state && taken.length > 0 ? commitOf(machine, resident.state, epoch, fromSeq, changes, taken) : null;
  return { commit, taken, unaddressed, poison, left };
}

function commitOf(
  machine: PreparedMachine,
  state: ActorState,
  epoch: number,
  fromSeq: number,
  changes: Changes,
  taken: readonly Queued[],
): ActorCommit {
  const accepted = taken.filter(({ envelope }) => !isOwnFiring(envelope)).map(({ envelope }) => envelope.id);
  const consumed = taken.filter(({ stored }) => stored).map(({ envelope }) => envelope.id);
  const lazy = isLazy(machine, changes, taken);
  return { ref: state.ref, epoch, fromSeq, row: actorRow(machine, state), changes, accepted, consumed, lazy };
}

/** It only opens effects that may start when it is written: no answer, no message and no sender depends on it. */
function isLazy({ definition }: PreparedMachine, changes: Changes, taken: readonly Queued[]): boolean {
  const { answers, outbox, effectsSet } = changes;
  return (
    answers.length === 0 &&
    outbox.length === 0 &&
    effectsSet.size > 0 &&
    [...effectsSet.values()].every(({ name }) => definition.effects[name]?.start === 'written') &&
    taken.every(({ settle, envelope }) => !settle || envelope.asked) // who asked hears with the answer
  );
}

/**
 * Firings of timers and results of this process's effects. They are fenced by their visit and their effect instead of the
 * inbox, and an owner finds them again in the rows: they are never sent anywhere.
 */
export function isOwnFiring({ timer, cause }: Envelope): boolean {
  return timer !== undefined || cause.type === 'effect';
}

/** Whether a firing still means something to the stored state. */
export function isCurrent(state: ActorState | null, { to, timer, effectKey }: Envelope): boolean {
  if (!state) return false;
  if (timer) return state.timers.get(timer.name)?.visit === timer.visit;
  if (effectKey === undefined) return true;
  const number = effectNumber(to, effectKey);
  return number !== null && state.effects.has(number);
}

export function notFound({ to }: Envelope): Extract<Answer, { ok: false }> {
  return { ok: false, error: { code: 'not_found', message: `there is no ${to.kind} ${to.id}` } };
}

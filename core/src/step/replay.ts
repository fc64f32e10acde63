import type { ActorRef } from '../definition.ts';
import type { JournalEntry } from '../runtime.ts';
import type { ActorState, Envelope } from './actor-state.ts';
import { Changes } from './changes.ts';
import type { PreparedMachine } from './prepared-machine.ts';
import { createActor, stepActor } from './step.ts';

/**
 * The actor after these entries of its journal, from the first on (I7). Each step is taken again as it was: same event,
 * time, id and cause. Throws when an entry has another outcome than it had, so that a machine that changed without a new
 * version does not go unseen.
 */
export function replay(machine: PreparedMachine, ref: ActorRef, entries: readonly JournalEntry[]): ActorState | null {
  let state: ActorState | null = null;
  for (const entry of entries) {
    const changes = new Changes();
    const envelope = envelopeOf(ref, entry, state);
    if (state) stepActor(machine, state, envelope, entry.at, changes);
    else state = createActor(machine, envelope, entry.at, changes);
    const [again] = changes.entries;
    if (again?.outcome !== entry.outcome || again.path !== entry.path || again.seq !== entry.seq) {
      throw new Error(
        `${ref.kind} ${ref.id}: entry ${entry.seq} was ${entry.outcome} to ${entry.path}, is now ${again?.outcome} to ${again?.path}`,
      );
    }
  }
  return state;
}

function envelopeOf(to: ActorRef, entry: JournalEntry, state: ActorState | null): Envelope {
  const { event, cause, messageId, effectKey, outcome } = entry;
  const present = state?.timers.get(event.type)?.visit;
  const visit = outcome === 'late' ? undefined : present;
  return {
    id: messageId,
    to,
    event,
    cause,
    asked: false,
    ...(effectKey == null ? {} : { effectKey }),
    ...(cause.type === 'timer' ? { timer: { name: event.type, visit: visit ?? -1 } } : {}),
  };
}

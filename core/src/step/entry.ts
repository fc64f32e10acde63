import type { Json } from '../definition.ts';
import type { ActorState, EntryRow, Envelope } from './actor-state.ts';

/** The part of a journal entry that comes from the message. */
export function entryOf(envelope: Envelope, at: number) {
  const { event, id, cause, effectKey } = envelope;
  return { at, event, messageId: id, cause, effectKey: effectKey ?? null };
}

/** An entry of a message that left the machine where it was. */
export function unmovedEntry(
  state: ActorState,
  envelope: Envelope,
  at: number,
  outcome: EntryRow['outcome'],
): EntryRow {
  const value = state.snapshot.value as Json;
  const { seq, path, machineVersion, teamId } = state;
  return { ...entryOf(envelope, at), seq, outcome, from: value, to: value, path, diff: [], machineVersion, teamId };
}

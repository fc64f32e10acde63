import type { Json } from '../definition.ts';
import type { JournalEntry } from '../runtime.ts';
import type { EffectRow, Envelope, Ledger, TimerRow } from '../step/actor-state.ts';
import type { ActorRow } from '../step/stored-actor.ts';

/** Rows as the driver gives them (bigint as text) and as the runtime uses them. Written by this program alone, so not checked again. */
export type Raw = { readonly [column: string]: unknown };

const number = (value: unknown): number => Number(value);
const numberOrNull = (value: unknown): number | null => (value === null ? null : Number(value));

export const ACTOR_COLUMNS =
  'kind, id, seq, machine_version, state, path, tags, snapshot, ledger, team_id, created_at, since, updated_at, done';

export function toActorRow(raw: Raw): ActorRow {
  return {
    kind: raw.kind as string,
    id: raw.id as string,
    seq: number(raw.seq),
    machineVersion: raw.machine_version as number,
    state: raw.state as Json,
    path: raw.path as string,
    tags: raw.tags as string[],
    snapshot: raw.snapshot as Json,
    ledger: raw.ledger as Ledger,
    teamId: raw.team_id as string | null,
    createdAt: number(raw.created_at),
    since: number(raw.since),
    updatedAt: number(raw.updated_at),
    done: raw.done as boolean,
  };
}

export const TIMER_COLUMNS = 'kind, id, name, visit, delay, node, due_at';

export function toTimerRow(raw: Raw): TimerRow {
  const { name, delay, node } = raw as { name: string; delay: string; node: string };
  return { name, visit: number(raw.visit), delay, node, dueAt: number(raw.due_at) };
}

export const EFFECT_COLUMNS =
  'kind, id, number, name, node, visit, input, opened_at, attempts, next_attempt_at, last_error, status';

export function toEffectRow(raw: Raw): EffectRow {
  return {
    number: number(raw.number),
    name: raw.name as string,
    node: raw.node as string,
    visit: number(raw.visit),
    input: raw.input as Json,
    openedAt: number(raw.opened_at),
    attempts: raw.attempts as number,
    nextAttemptAt: numberOrNull(raw.next_attempt_at),
    lastError: raw.last_error as EffectRow['lastError'],
    status: raw.status as EffectRow['status'],
  };
}

export const OUTBOX_COLUMNS = 'place, message_id, to_kind, to_id, event, cause, effect_key, asked';

export function toEnvelope(raw: Raw): Envelope {
  return {
    id: raw.message_id as string,
    to: { kind: raw.to_kind as string, id: raw.to_id as string },
    event: raw.event as Envelope['event'],
    cause: raw.cause as Envelope['cause'],
    asked: raw.asked as boolean,
    ...(raw.effect_key === null ? {} : { effectKey: raw.effect_key as string }),
  };
}

export const ENTRY_COLUMNS =
  'kind, id, seq, at, outcome, event, message_id, cause, effect_key, from_state, to_state, path, diff, machine_version, team_id, xid::text as xid, place';

export function toJournalEntry(raw: Raw): JournalEntry {
  return {
    cursor: `${raw.xid}.${raw.place}`,
    kind: raw.kind as string,
    id: raw.id as string,
    seq: number(raw.seq),
    at: number(raw.at),
    outcome: raw.outcome as JournalEntry['outcome'],
    event: raw.event as JournalEntry['event'],
    messageId: raw.message_id as string,
    cause: raw.cause as JournalEntry['cause'],
    effectKey: raw.effect_key as string | null,
    from: raw.from_state as Json,
    to: raw.to_state as Json,
    path: raw.path as string,
    diff: raw.diff as Json[],
    machineVersion: raw.machine_version as number,
    teamId: raw.team_id as string | null,
  };
}

import type { JournalEntry, Json } from '@wrenn/core';
import { z } from 'zod';
import type { Message, MessageEnd } from './message-pairs.ts';
import type { Revision } from './revisions.ts';

/** Journals as the inspector's API shows them: without secrets, times as RFC 3339. */

const time = z.iso.datetime();
const json = z.unknown();

export const journalEntry = z
  .object({
    cursor: z.string().optional().meta({ description: 'Only in the feed: resume after it' }),
    host_cursor: z.string().optional().meta({ description: "Only of a vm: its place in the host's own journal" }),
    kind: z.string(),
    id: z.string(),
    seq: z.int(),
    at: time,
    outcome: z.enum(['transition', 'refused', 'late']),
    event: json,
    message_id: z.string(),
    effect_key: z.string().nullable().meta({ description: 'The effect whose result or report the event was' }),
    cause: json,
    from: json,
    to: json,
    path: z.string(),
    diff: z.array(json),
    machine_version: z.int(),
  })
  .meta({ id: 'JournalEntry' });

export const revision = z
  .object({
    kind: z.string(),
    id: z.string(),
    seq: z.int(),
    last_seq: z.int().meta({ description: 'Of the actor now' }),
    at: time,
    state: json,
    path: z.string(),
    machine_version: z.int(),
    context: json.meta({ description: 'Null where the journal that is kept begins later' }),
    entry: journalEntry.meta({ description: 'The event that led here: its cause, and the diff of the context' }),
  })
  .meta({ id: 'Revision' });

const messageEnd = z.object({ kind: z.string(), id: z.string(), seq: z.int(), at: time }).meta({ id: 'MessageEnd' });

export const messagePair = z
  .object({
    id: z.string().meta({ description: "Of a command its effect's key, of a report the place in the host's journal" }),
    direction: z.enum(['down', 'up']).meta({ description: 'Down to the host, up to the control plane' }),
    type: z.string(),
    from: messageEnd.nullable(),
    to: messageEnd.nullable(),
    outcome: z.enum(['transition', 'refused', 'late']).nullable().meta({ description: 'Of the entry that took it' }),
    latency_ms: z.number().nullable().meta({ description: 'By the clocks of two machines' }),
    answers: z.string().nullable().meta({ description: 'Of a report: the id of the command that it answers' }),
    round_trip_ms: z.number().nullable().meta({ description: "From the command's sending to here, by one clock" }),
    host_ms: z
      .number()
      .nullable()
      .meta({ description: "From the command's arrival to the report, by the host's clock" }),
  })
  .meta({ id: 'MessagePair' });

const iso = (ms: number) => new Date(ms).toISOString();

/** An entry without its place in the feed, which only the feed can tell. */
export function entryJson(entry: JournalEntry): z.output<typeof journalEntry> {
  const { kind, id, seq, at, outcome, event, messageId, effectKey, cause, from, to, path, diff, machineVersion } =
    entry;
  return {
    ...(kind === 'vm' && entry.cursor !== undefined && { host_cursor: entry.cursor }),
    kind,
    id,
    seq,
    at: iso(at),
    outcome,
    event: withoutSecrets(event),
    message_id: messageId,
    effect_key: effectKey ?? null,
    cause,
    from,
    to,
    path,
    diff: [...diff],
    machine_version: machineVersion,
  };
}

export function revisionJson({ entry, context }: Revision, lastSeq: number): z.output<typeof revision> {
  const { kind, id, seq, at, to, path, machineVersion } = entry;
  return {
    kind,
    id,
    seq,
    last_seq: lastSeq,
    at: iso(at),
    state: to,
    path,
    machine_version: machineVersion,
    context,
    entry: entryJson(entry),
  };
}

/** Fields of events that only the actor may hold. Contexts and diffs are public already (`publicContext`). */
const SECRETS: ReadonlySet<string> = new Set(['access_token', 'traffic_token', 'envs', 'control_plane_secret']);

function withoutSecrets(value: Json | undefined): Json {
  if (Array.isArray(value)) return value.map(withoutSecrets);
  if (value === null || typeof value !== 'object') return value ?? null;
  const shown: Record<string, Json> = {};
  for (const [name, field] of Object.entries(value)) if (!SECRETS.has(name)) shown[name] = withoutSecrets(field);
  return shown;
}

export function messageJson(message: Message): z.output<typeof messagePair> {
  const { id, direction, type, from, to, outcome, latencyMs, answers, roundTripMs, hostMs } = message;
  const end = (side: MessageEnd | null) => side && { ...side, at: iso(side.at) };
  return {
    id,
    direction,
    type,
    from: end(from),
    to: end(to),
    outcome,
    latency_ms: latencyMs,
    answers,
    round_trip_ms: roundTripMs,
    host_ms: hostMs,
  };
}

import { type ActorDefinition, type JournalEntry, type Json, query } from '@wrenn/core';
import type { Pool } from 'pg';
import { z } from 'zod';

/** One end of a message: the journal entry that sent or took it. */
export interface MessageEnd {
  readonly kind: string;
  readonly id: string;
  readonly seq: number;
  readonly at: number;
}

/**
 * What went between a sandbox and its `vm` actors on hosts. Down: a command, named by the key of the effect that sent it.
 * Up: a report, named by its place in the host's journal.
 */
export interface Message {
  readonly id: string;
  readonly direction: 'down' | 'up';
  readonly type: string;
  /** Null: not in the journals that are kept, or not sent yet. */
  readonly from: MessageEnd | null;
  /** Null: on its way, or nobody took it. */
  readonly to: MessageEnd | null;
  /** What became of it where it arrived; null while it did not. `late`: it was known already, or not waited for any more. */
  readonly outcome: JournalEntry['outcome'] | null;
  /** By the clocks of two machines; null while an end is missing. */
  readonly latencyMs: number | null;
  /** Of a report that answers a command: the command's id. */
  readonly answers: string | null;
  /** Of an answer: from the command's sending to here, by the control plane's clock. */
  readonly roundTripMs: number | null;
  /** Of an answer: from the command's arrival to the report, by the host's clock. What is left of the round trip is the way. */
  readonly hostMs: number | null;
}

/**
 * Pairs the journal of a sandbox with those of its vms, each in its order: a command by its key, a report by incarnation
 * and place in the host's journal.
 */
export function pairMessages(
  definition: ActorDefinition,
  own: readonly JournalEntry[],
  theirs: readonly JournalEntry[],
): Message[] {
  const down = commands(definition, own, theirs);
  const up = reports(own, theirs, down);
  return [...down, ...up].sort((a, b) => timeOf(a) - timeOf(b));
}

function commands(definition: ActorDefinition, own: readonly JournalEntry[], theirs: readonly JournalEntry[]) {
  const found = new Map<string, Message>();
  for (const entry of theirs) {
    const { key } = entry.event;
    if (typeof key !== 'string' || !key.startsWith(`sandbox:${sandboxOf(entry.id)}:`)) continue; // not from a sandbox
    if (found.has(key)) continue; // sent again: the first one counts
    const from = sentBy(definition, own, entry, key);
    const { event, outcome } = entry;
    found.set(key, message({ id: key, direction: 'down', type: event.type, from, to: endOf(entry), outcome }));
  }
  return [...found.values()];
}

function reports(own: readonly JournalEntry[], theirs: readonly JournalEntry[], down: readonly Message[]) {
  const found = new Map<string, Message>();
  const waiting = new Set(down);
  for (const entry of own) {
    const { incarnation, cursor, store_id } = entry.event;
    if (incarnation === undefined || typeof cursor !== 'number' || store_id === undefined) continue;
    const vm = `${entry.id}.${incarnation}`;
    // An answer names the end of the journal as it was then, which may be a later place than its own.
    const report = theirs.findLast(({ id, cursor: place }) => id === vm && Number(place) <= cursor);
    const id = `${store_id}:${report?.cursor ?? cursor}`;
    if (found.has(id)) continue; // answer and watch tell the same: the first to arrive counts
    const { event, outcome } = entry;
    const from = report ? endOf(report) : null;
    const ends: Ends = { id, direction: 'up', type: event.type, from, to: endOf(entry), outcome };
    const command = [...waiting].findLast(({ to }) => to?.id === vm && report !== undefined && to.seq <= report.seq);
    if (command) waiting.delete(command);
    found.set(id, answered(message(ends), command));
  }
  return [...found.values()];
}

type Ends = Pick<Message, 'id' | 'direction' | 'type' | 'from' | 'to' | 'outcome'>;

function message(ends: Ends): Message {
  const latencyMs = ends.from && ends.to ? ends.to.at - ends.from.at : null;
  return { ...ends, latencyMs, answers: null, roundTripMs: null, hostMs: null };
}

function answered(report: Message, command: Message | undefined): Message {
  if (!command) return report;
  const roundTripMs = report.to && command.from ? report.to.at - command.from.at : null;
  const hostMs = report.from && command.to ? report.from.at - command.to.at : null;
  return { ...report, answers: command.id, roundTripMs, hostMs };
}

/** A vm's id is `<sandbox id>.<incarnation>`. */
const sandboxOf = (vmId: string): string => vmId.split('.', 1)[0] ?? '';

/**
 * The entry that opened the effect. The journal does not name effects; it is the last one, before the effect's result,
 * that entered the state in which the effect is open.
 */
function sentBy(
  { effects }: ActorDefinition,
  own: readonly JournalEntry[],
  { event }: JournalEntry,
  key: string,
): MessageEnd | null {
  const result = own.find(({ effectKey }) => effectKey === key);
  const name = result?.cause.type === 'effect' ? result.cause.name : `vm.${event.type.toLowerCase()}`;
  const state = effects[name]?.while;
  if (state === undefined) return null;
  const before = result ? own.filter(({ seq }) => seq < result.seq) : own;
  const opener = before.findLast(({ outcome, from, to }) => outcome === 'transition' && enters(state, from, to));
  return opener ? endOf(opener) : null;
}

function enters(state: string, from: Json, to: Json): boolean {
  const keys = state.split('.');
  return isIn(to, keys) && !isIn(from, keys);
}

/** Whether a state value has the state `keys` active. */
function isIn(value: Json, keys: readonly string[]): boolean {
  const [first, ...rest] = keys;
  if (first === undefined) return true;
  if (typeof value === 'string') return value === first && rest.length === 0;
  if (value === null || typeof value !== 'object' || Array.isArray(value) || !Object.hasOwn(value, first)) return false;
  return rest.length === 0 || isIn(value[first] ?? null, rest);
}

function endOf({ kind, id, seq, at }: JournalEntry): MessageEnd {
  return { kind, id, seq, at };
}

const timeOf = ({ from, to }: Message): number => from?.at ?? to?.at ?? 0;

/** Journals of the vms of one sandbox, in the order of their incarnations. */
export async function vmJournals(sql: Pool, sandboxId: string, limit: number): Promise<JournalEntry[]> {
  const rows = await query(
    sql,
    z.object({ entry: z.custom<JournalEntry>() }),
    `select j.entry from vm_mirrors m join vm_journal j on j.id = m.id
      where m.sandbox_id = $1 order by m.created_at, j.seq limit $2`,
    [sandboxId, limit],
  );
  return rows.map(({ entry }) => entry);
}

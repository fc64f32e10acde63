import type { ActorRef, Answer } from '../definition.ts';
import type { JournalEntry } from '../runtime.ts';
import type { AnswerRow, EffectRow, EntryRow, Envelope, TimerRow } from '../step/actor-state.ts';
import { refKey } from '../step/refs.ts';
import type { ActorRow } from '../step/stored-actor.ts';

/** What the journal's records say. `position` numbers the entries of all actors in their order; it is the feed's cursor. */
export type JournalRecord =
  | { readonly type: 'commit'; readonly actors: readonly CommittedActor[] }
  | { readonly type: 'attempt'; readonly ref: ActorRef; readonly effect: EffectRow }
  | {
      readonly type: 'parked';
      readonly envelope: Envelope;
      readonly error: { readonly code: string; readonly message: string };
    }
  | { readonly type: 'dropped'; readonly to: ActorRef; readonly id: string }
  // of snapshots
  | { readonly type: 'actor'; readonly actor: StoredEntry }
  | { readonly type: 'outbox'; readonly envelope: Envelope }
  | {
      readonly type: 'entries';
      readonly position: number;
      readonly entries: readonly (EntryRow & { readonly ref: ActorRef })[];
    };

export interface CommittedActor {
  readonly row: ActorRow;
  readonly entries: readonly EntryRow[];
  readonly answers: readonly AnswerRow[];
  readonly timers: readonly TimerRow[];
  readonly timersCleared: readonly string[];
  readonly effects: readonly EffectRow[];
  readonly effectsClosed: readonly number[];
  readonly outbox: readonly Envelope[];
  readonly accepted: readonly string[];
  readonly consumed: readonly string[];
}

interface StoredEntry {
  readonly row: ActorRow;
  readonly timers: readonly TimerRow[];
  readonly effects: readonly EffectRow[];
  readonly inbox: readonly string[];
  readonly answers: readonly AnswerRow[];
}

export interface LiveActor {
  row: ActorRow;
  readonly timers: Map<string, TimerRow>;
  readonly effects: Map<number, EffectRow>;
  readonly inbox: Set<string>;
  readonly answers: Map<string, Answer>;
}

export interface Retention {
  /** Entries of the journal that are kept for readers of the feed. */
  readonly entries: number;
  /** How long an actor that is done is remembered, with its tombstone's power to refuse. */
  readonly doneMs: number;
}

const ENTRIES_PER_RECORD = 500;

/**
 * What the records of a journal add up to; all of it fits in memory. The last of them may not be durable yet: nobody
 * outside is shown what they did (`shownRow`, `shownPosition`) before `synced()`.
 */
export class JournalState {
  readonly actors = new Map<string, LiveActor>();
  /** Messages on their way, by receiver and id. */
  readonly outbox = new Map<string, Envelope>();
  readonly entries: JournalEntry[] = [];
  /** Position of the last entry. */
  position = 0;
  #shownPosition = 0;
  /** Rows as they were at the last sync, of actors that were written since; null = not there. */
  readonly #before = new Map<string, ActorRow | null>();
  readonly #retention: Retention;

  constructor(retention: Retention) {
    this.#retention = retention;
  }

  actor(ref: ActorRef): LiveActor | undefined {
    return this.actors.get(refKey(ref));
  }

  /** Position of the last entry that is durable. */
  get shownPosition(): number {
    return this.#shownPosition;
  }

  /** All that was applied is durable. */
  synced(): void {
    this.#shownPosition = this.position;
    this.#before.clear();
  }

  shownRow(ref: ActorRef): ActorRow | null {
    const key = refKey(ref);
    const before = this.#before.get(key);
    return before === undefined ? (this.actors.get(key)?.row ?? null) : before;
  }

  shownRows(): ActorRow[] {
    return [...this.actors].flatMap(([key, { row }]) => {
      const before = this.#before.get(key);
      return before === undefined ? row : (before ?? []);
    });
  }

  apply(record: JournalRecord): void {
    switch (record.type) {
      case 'commit':
        for (const actor of record.actors) this.#commit(actor);
        break;
      case 'attempt':
        if (this.actor(record.ref)?.effects.has(record.effect.number)) {
          this.actor(record.ref)?.effects.set(record.effect.number, record.effect);
        }
        break;
      case 'parked':
        this.outbox.delete(messageKey(record.envelope.to, record.envelope.id));
        break;
      case 'dropped':
        this.outbox.delete(messageKey(record.to, record.id));
        break;
      case 'actor':
        this.#restore(record.actor);
        break;
      case 'outbox':
        this.outbox.set(messageKey(record.envelope.to, record.envelope.id), record.envelope);
        break;
      case 'entries':
        this.position = record.position;
        for (const { ref, ...entry } of record.entries) this.#addEntry(ref, entry);
        break;
    }
  }

  /** Records that give this state again, without what is too old to be kept. */
  *compacted(now: number): Generator<JournalRecord> {
    for (const [key, { row, timers, effects, inbox, answers }] of this.actors) {
      if (row.done && row.updatedAt < now - this.#retention.doneMs) {
        this.actors.delete(key);
        continue;
      }
      const actor: StoredEntry = {
        row,
        timers: [...timers.values()],
        effects: [...effects.values()],
        inbox: [...inbox],
        answers: [...answers].map(([messageId, answer]) => ({ messageId, answer })),
      };
      yield { type: 'actor', actor };
    }
    for (const envelope of this.outbox.values()) yield { type: 'outbox', envelope };
    for (let at = 0; at < this.entries.length; at += ENTRIES_PER_RECORD) {
      const entries = this.entries.slice(at, at + ENTRIES_PER_RECORD);
      const position = Number(entries[0]?.cursor) - 1;
      yield { type: 'entries', position, entries: entries.map(storedEntry) };
    }
    if (this.entries.length === 0) yield { type: 'entries', position: this.position, entries: [] };
  }

  #commit(actor: CommittedActor): void {
    const { row } = actor;
    const key = refKey(row);
    let live = this.actors.get(key);
    if (!this.#before.has(key)) this.#before.set(key, live?.row ?? null);
    if (!live) {
      live = { row, timers: new Map(), effects: new Map(), inbox: new Set(), answers: new Map() };
      this.actors.set(key, live);
    }
    live.row = row;
    for (const name of actor.timersCleared) live.timers.delete(name);
    for (const timer of actor.timers) live.timers.set(timer.name, timer);
    for (const number of actor.effectsClosed) live.effects.delete(number);
    for (const effect of actor.effects) live.effects.set(effect.number, effect);
    for (const id of actor.accepted) live.inbox.add(id);
    for (const { messageId, answer } of actor.answers)
      if (!live.answers.has(messageId)) live.answers.set(messageId, answer);
    for (const id of actor.consumed) this.outbox.delete(messageKey(row, id));
    for (const envelope of actor.outbox) this.outbox.set(messageKey(envelope.to, envelope.id), envelope);
    for (const entry of actor.entries) this.#addEntry({ kind: row.kind, id: row.id }, entry);
  }

  #restore({ row, timers, effects, inbox, answers }: StoredEntry): void {
    this.actors.set(refKey(row), {
      row,
      timers: new Map(timers.map((timer) => [timer.name, timer])),
      effects: new Map(effects.map((effect) => [effect.number, effect])),
      inbox: new Set(inbox),
      answers: new Map(answers.map(({ messageId, answer }) => [messageId, answer])),
    });
  }

  #addEntry({ kind, id }: ActorRef, entry: EntryRow): void {
    this.position += 1;
    this.entries.push({ cursor: String(this.position), kind, id, ...entry });
    // In steps, so that the array is not moved at every entry.
    if (this.entries.length > this.#retention.entries * 1.25) {
      this.entries.splice(0, this.entries.length - this.#retention.entries);
    }
  }
}

export function messageKey(to: ActorRef, id: string): string {
  return `${refKey(to)} ${id}`;
}

function storedEntry({ cursor: _, kind, id, ...entry }: JournalEntry): EntryRow & { ref: ActorRef } {
  return { effectKey: null, ...entry, ref: { kind, id } };
}

import type { ActorRef, Answer } from '../definition.ts';
import type { ActorCommit, CommitOutcome, Store, StoredActor, StoreListener } from '../engine/store.ts';
import { errorFacts } from '../errors.ts';
import type { Logger } from '../log.ts';
import type { EffectRow, Envelope } from '../step/actor-state.ts';
import { storable } from '../step/storable.ts';
import type { JournalFile } from './journal-file.ts';
import type { CommittedActor, JournalRecord, JournalState } from './journal-state.ts';

/** One process owns all actors of a journal for as long as it holds the folder's lock. */
const EPOCH = 1;
const LOST: CommitOutcome = { type: 'lost', leased: true };
/** Pause after a write failed (a full disk): what waits is tried again. */
const AGAIN_MS = 200;

/** Actors in a journal on disk, all of them also in memory. */
export class JournalStore implements Store {
  readonly #file: JournalFile;
  readonly #state: JournalState;
  readonly #log: Logger;

  constructor(file: JournalFile, state: JournalState, log: Logger) {
    this.#file = file;
    this.#state = state;
    this.#log = log;
  }

  /** Everything that is at work: open messages, timers, effects. */
  takeOver(listener: StoreListener): void {
    listener.deliver([...this.#state.outbox.values()]);
    for (const { row, timers, effects } of this.#state.actors.values()) {
      const ref = { kind: row.kind, id: row.id };
      listener.setTimers([...timers.values()].map((timer) => ({ ref, timer })));
      listener.runEffects([...effects.values()].map((effect) => ({ ref, effect })));
    }
  }

  now(): number {
    return Date.now();
  }

  epochOf(): number {
    return EPOCH;
  }

  async stillOwns(): Promise<boolean> {
    return true;
  }

  isSoon(): boolean {
    return true;
  }

  async load(refs: readonly ActorRef[]): Promise<(StoredActor | null)[]> {
    return refs.map((ref) => {
      const actor = this.#state.actor(ref);
      return actor
        ? { row: actor.row, timers: [...actor.timers.values()], effects: [...actor.effects.values()] }
        : null;
    });
  }

  async commit(batch: readonly ActorCommit[]): Promise<CommitOutcome[]> {
    const winners = batch.filter((commit) => this.#mayCommit(commit));
    const durable = !winners.every(({ lazy }) => lazy);
    try {
      if (winners.length > 0) await this.#file.append(commitRecord(winners), { durable });
    } catch (err) {
      this.#log.error({ err }, 'the journal could not be written');
      await new Promise((resolve) => setTimeout(resolve, AGAIN_MS));
      return batch.map((commit) => (winners.includes(commit) ? { type: 'unknown' } : LOST));
    }
    return batch.map((commit) => (winners.includes(commit) ? { type: 'committed' } : LOST));
  }

  async accepted(ref: ActorRef, messageIds: readonly string[]): Promise<ReadonlySet<string>> {
    await this.#file.sync(); // who is told that a message was accepted can rely on it
    const inbox = this.#state.actor(ref)?.inbox;
    return new Set(messageIds.filter((id) => inbox?.has(id)));
  }

  async answer(ref: ActorRef, messageId: string): Promise<Answer | null> {
    return this.#state.actor(ref)?.answers.get(messageId) ?? null;
  }

  /** Never called: there is no other owner. */
  async forward(): Promise<void> {}

  async drop({ id, to }: Envelope): Promise<void> {
    await this.#append({ type: 'dropped', to, id });
  }

  async park(envelope: Envelope, error: unknown): Promise<void> {
    await this.#append({ type: 'parked', envelope, error: storable(errorFacts(error)) });
  }

  async saveAttempt(ref: ActorRef, effect: EffectRow): Promise<boolean> {
    if (!this.#state.actor(ref)?.effects.has(effect.number)) return false;
    await this.#append({ type: 'attempt', ref, effect });
    return this.#state.actor(ref)?.effects.has(effect.number) ?? false;
  }

  #append(record: JournalRecord): Promise<void> {
    return this.#file.append(record);
  }

  #mayCommit({ ref, fromSeq, accepted }: ActorCommit): boolean {
    const actor = this.#state.actor(ref);
    return (actor?.row.seq ?? 0) === fromSeq && !accepted.some((id) => actor?.inbox.has(id));
  }
}

function commitRecord(commits: readonly ActorCommit[]): JournalRecord {
  return { type: 'commit', actors: commits.map(committedActor) };
}

function committedActor({ row, changes, accepted, consumed }: ActorCommit): CommittedActor {
  return {
    row,
    entries: changes.entries,
    answers: changes.answers,
    timers: [...changes.timersSet.values()],
    timersCleared: [...changes.timersCleared],
    effects: [...changes.effectsSet.values()],
    effectsClosed: [...changes.effectsClosed],
    outbox: changes.outbox,
    accepted,
    consumed,
  };
}

import type pg from 'pg';
import type { ActorRef, Answer } from '../definition.ts';
import type { ActorCommit, CommitOutcome, Store, StoredActor, StoreListener } from '../engine/store.ts';
import { errorFacts } from '../errors.ts';
import type { Logger } from '../log.ts';
import type { EffectRow, Envelope } from '../step/actor-state.ts';
import { refKey } from '../step/refs.ts';
import { storableJson } from '../step/storable.ts';
import type { Committer } from './committer.ts';
import type { Feed } from './feed.ts';
import type { Ownership } from './ownership.ts';
import { partitionOf } from './partition.ts';
import { isConnectionLoss } from './pg-errors.ts';
import type { Poke, Poker } from './poke.ts';
import {
  ACTOR_COLUMNS,
  EFFECT_COLUMNS,
  OUTBOX_COLUMNS,
  type Raw,
  TIMER_COLUMNS,
  toActorRow,
  toEffectRow,
  toEnvelope,
  toTimerRow,
} from './rows.ts';

export interface PostgresStoreOptions {
  /** For everything but commits. */
  readonly pool: pg.Pool;
  /** As many connections as there are lanes. */
  readonly commits: pg.Pool;
  readonly ownership: Ownership;
  readonly committer: Committer;
  readonly poker: Poker;
  readonly feed: Feed;
  readonly log: Logger;
}

/** Timers that are due later stay in their table: memory is for what happens soon. */
const HORIZON_MS = 60_000;
const HORIZON_AGAIN_MS = 30_000;
/** The safety net under pokes. */
const SAFETY_MS = 1_000;

/** Actors in PostgreSQL. */
export class PostgresStore implements Store {
  readonly #options: PostgresStoreOptions;
  #listener: StoreListener | null = null;
  /** Commands sent on to another owner, whose answer is awaited here. */
  readonly #forwarded = new Map<string, { ref: ActorRef; messageId: string }>();
  /** Places in the outbox at the last look of the safety net. */
  #seen: ReadonlySet<unknown> = new Set();
  #horizon = 0;
  #safety: NodeJS.Timeout | undefined;
  #stopped = false;

  constructor(options: PostgresStoreOptions) {
    this.#options = options;
  }

  /** Before `start` of the ownership. */
  listen(listener: StoreListener): void {
    this.#listener = listener;
    this.#watch();
  }

  stop(): void {
    this.#stopped = true;
    clearTimeout(this.#safety);
  }

  now(): number {
    return this.#options.ownership.now();
  }

  epochOf(ref: ActorRef): number | null {
    return this.#options.ownership.epochOf(partitionOf(ref));
  }

  async stillOwns(ref: ActorRef): Promise<boolean> {
    const { rowCount } = await this.#options.pool.query('select from partitions where id = $1 and epoch = $2', [
      partitionOf(ref),
      this.epochOf(ref) ?? 0,
    ]);
    if (rowCount === 0) await this.#options.ownership.refresh();
    return rowCount === 1;
  }

  async load(refs: readonly ActorRef[]): Promise<(StoredActor | null)[]> {
    const { rows } = await this.#options.commits.query<Loaded>({
      name: 'load',
      text: LOAD,
      values: [refs.map(({ kind }) => kind), refs.map(({ id }) => id)],
    });
    const found = new Map(rows.map((raw) => [refKey(raw as never), raw]));
    return refs.map((ref) => {
      const raw = found.get(refKey(ref));
      return raw
        ? {
            row: toActorRow(raw),
            timers: (raw.timers ?? []).map(toTimerRow),
            effects: (raw.effects ?? []).map(toEffectRow),
          }
        : null;
    });
  }

  async commit(batch: readonly ActorCommit[]): Promise<CommitOutcome[]> {
    const outcomes = await this.#options.committer.commit(this.#options.commits, batch);
    if (outcomes.some((outcome) => outcome.type === 'lost' && !outcome.leased)) await this.#options.ownership.refresh();
    this.announce(batch.filter((_, i) => outcomes[i]?.type === 'committed'));
    return outcomes;
  }

  /** Wakes whoever waits for what these commits wrote: readers of the feed here, and other replicas. */
  announce(commits: readonly ActorCommit[]): void {
    if (commits.length === 0) return;
    const { feed, ownership, poker } = this.#options;
    feed.wake();
    if (ownership.peers === 0) return;
    const partitions = new Set<number>();
    let answers = false;
    for (const { changes } of commits) {
      answers ||= changes.answers.length > 0;
      for (const { to } of changes.outbox) {
        const partition = partitionOf(to);
        if (ownership.epochOf(partition) === null) partitions.add(partition);
      }
    }
    poker.poke({ partitions: [...partitions], answers, feed: true });
  }

  async accepted({ kind, id }: ActorRef, messageIds: readonly string[]): Promise<ReadonlySet<string>> {
    const { rows } = await this.#options.pool.query<{ message_id: string }>(
      'select message_id from actor_inbox where kind = $1 and id = $2 and message_id = any ($3)',
      [kind, id, messageIds],
    );
    return new Set(rows.map(({ message_id }) => message_id));
  }

  async answer({ kind, id }: ActorRef, messageId: string): Promise<Answer | null> {
    const { rows } = await this.#options.pool.query<{ answer: Answer }>(
      'select answer from actor_answers where kind = $1 and id = $2 and message_id = $3',
      [kind, id, messageId],
    );
    return rows[0]?.answer ?? null;
  }

  async forward({ id, to, event, cause, effectKey, asked }: Envelope): Promise<void> {
    if (asked) this.#forwarded.set(`${refKey(to)} ${id}`, { ref: to, messageId: id });
    await this.#options.pool.query(
      `insert into actor_outbox (message_id, to_kind, to_id, partition, event, cause, effect_key, asked)
       values ($1, $2, $3, $4, $5, $6, $7, $8) on conflict (to_kind, to_id, message_id) do nothing`,
      [id, to.kind, to.id, partitionOf(to), storableJson(event), storableJson(cause), effectKey ?? null, asked],
    );
    this.#options.poker.poke({ partitions: [partitionOf(to)] });
    if (this.epochOf(to) !== null) await this.#scan([partitionOf(to)]);
  }

  async drop({ id, to }: Envelope, answer: Answer | null): Promise<void> {
    await this.#options.pool.query(
      `with gone as (delete from actor_outbox where to_kind = $1 and to_id = $2 and message_id = $3 returning asked)
       insert into actor_answers (kind, id, message_id, answer)
       select $1, $2, $3, $4::jsonb from gone where asked and $4::jsonb is not null
       on conflict (kind, id, message_id) do nothing`,
      [to.kind, to.id, id, answer && storableJson(answer)],
    );
    if (this.#options.ownership.peers > 0) this.#options.poker.poke({ answers: true });
  }

  async park(envelope: Envelope, error: unknown): Promise<void> {
    const { id, to, event, cause } = envelope;
    const facts = errorFacts(error);
    await this.#options.pool.query(
      'insert into actor_parked (kind, id, message_id, event, cause, error) values ($1, $2, $3, $4, $5, $6)',
      [to.kind, to.id, id, storableJson(event), storableJson(cause), storableJson(facts)],
    );
    const { code, message } = facts;
    await this.drop(envelope, {
      ok: false,
      error: { code: 'machine_error', message: `${event.type} could not be applied`, details: { code, message } },
    });
  }

  async saveAttempt(ref: ActorRef, effect: EffectRow): Promise<boolean> {
    const { rowCount } = await this.#options.pool.query(
      `update actor_effects set attempts = $4, next_attempt_at = $5, last_error = $6, status = $7
        where kind = $1 and id = $2 and number = $3
          and exists (select from partitions p where p.id = actor_effects.partition and p.epoch = $8)`,
      [
        ref.kind,
        ref.id,
        effect.number,
        effect.attempts,
        effect.nextAttemptAt,
        effect.lastError && storableJson(effect.lastError),
        effect.status,
        this.epochOf(ref) ?? 0,
      ],
    );
    return rowCount === 1;
  }

  /** Everything of new partitions that is at work: what lies in the outbox, timers that are due soon, open effects. */
  async takeOver(partitions: readonly number[], owned: () => void): Promise<void> {
    const { pool, ownership } = this.#options;
    const horizon = Math.max(this.#horizon, this.now() + HORIZON_MS);
    const all = [...new Set([...ownership.owned(), ...partitions])];
    const [messages, timers, effects] = await Promise.all([
      this.#messages(all),
      this.#timersUntil(partitions, horizon),
      pool.query<Raw>(`select ${EFFECT_COLUMNS} from actor_effects where partition = any ($1) order by opened_at`, [
        partitions,
      ]),
    ]);
    this.#horizon = horizon;
    owned();
    this.#listener?.deliver(messages.map(toEnvelope));
    this.#listener?.setTimers(timers);
    this.#listener?.runEffects(effects.rows.map((raw) => ({ ref: refOf(raw), effect: toEffectRow(raw) })));
  }

  /** False for timers that stay in their table for now. */
  isSoon(dueAt: number): boolean {
    return dueAt <= this.#horizon;
  }

  heard({ partitions, answers, feed }: Poke): void {
    if (feed) this.#options.feed.wake();
    const mine = (partitions ?? []).filter((partition) => this.#options.ownership.epochOf(partition) !== null);
    if (mine.length > 0) this.#safely(this.#scan(mine));
    if (answers) this.#safely(this.#readAnswers());
  }

  #watch(): void {
    let looked = this.now();
    const look = async () => {
      const mine = this.#options.ownership.owned();
      if (mine.length > 0) await this.#scanForgotten(mine);
      await this.#readAnswers();
      const now = this.now();
      if (now - looked < HORIZON_AGAIN_MS) return;
      const timers = await this.#timersUntil(mine, now + HORIZON_MS);
      looked = now;
      this.#horizon = now + HORIZON_MS;
      this.#listener?.setTimers(timers.filter(({ ref }) => this.epochOf(ref) !== null));
    };
    const again = () => {
      if (this.#stopped) return;
      this.#safety = setTimeout(() => this.#safely(look().finally(again)), SAFETY_MS);
    };
    again();
  }

  async #scan(partitions: readonly number[]): Promise<void> {
    this.#deliver((await this.#messages(partitions)).map(toEnvelope));
  }

  /** Rows that were there a second ago: whoever should have taken them has not. Younger ones are on their way. */
  async #scanForgotten(partitions: readonly number[]): Promise<void> {
    const rows = await this.#messages(partitions);
    const forgotten = rows.filter(({ place }) => this.#seen.has(place));
    this.#seen = new Set(rows.map(({ place }) => place));
    this.#deliver(forgotten.map(toEnvelope));
  }

  #deliver(messages: readonly Envelope[]): void {
    this.#listener?.deliver(messages.filter(({ to }) => this.epochOf(to) !== null));
  }

  async #messages(partitions: readonly number[]): Promise<Raw[]> {
    const { rows } = await this.#options.pool.query<Raw>({
      name: 'outbox_scan',
      text: `select ${OUTBOX_COLUMNS} from actor_outbox where partition = any ($1) order by place`,
      values: [partitions],
    });
    return rows;
  }

  async #timersUntil(partitions: readonly number[], horizon: number) {
    const { rows } = await this.#options.pool.query<Raw>(
      `select ${TIMER_COLUMNS} from actor_timers where partition = any ($1) and due_at <= $2`,
      [partitions, horizon],
    );
    return rows.map((raw) => ({ ref: refOf(raw), timer: toTimerRow(raw) }));
  }

  /** Commands that were accepted here and are answered later: whoever has the partitions now writes the answer. */
  released(lost: (ref: ActorRef) => boolean): void {
    for (const asked of this.#listener?.awaited() ?? []) {
      if (lost(asked.ref)) this.#forwarded.set(`${refKey(asked.ref)} ${asked.messageId}`, asked);
    }
  }

  async #readAnswers(): Promise<void> {
    const awaited = new Set(
      (this.#listener?.awaited() ?? []).map(({ ref, messageId }) => `${refKey(ref)} ${messageId}`),
    );
    for (const key of this.#forwarded.keys()) if (!awaited.has(key)) this.#forwarded.delete(key);
    if (this.#forwarded.size === 0) return;
    const keys = [...this.#forwarded.values()];
    const { rows } = await this.#options.pool.query<Raw & { answer: Answer }>(
      `select kind, id, message_id, answer from actor_answers
        where (kind, id, message_id) in (select * from unnest($1::text[], $2::text[], $3::text[]))`,
      [keys.map(({ ref }) => ref.kind), keys.map(({ ref }) => ref.id), keys.map(({ messageId }) => messageId)],
    );
    for (const raw of rows) {
      const ref = refOf(raw);
      this.#forwarded.delete(`${refKey(ref)} ${raw.message_id}`);
      this.#listener?.answered(ref, raw.message_id as string, raw.answer);
    }
  }

  #safely(work: Promise<unknown>): void {
    work.catch((err: unknown) => {
      if (this.#stopped) return;
      this.#options.log[isConnectionLoss(err) ? 'warn' : 'error']({ err }, 'the database could not be looked at');
    });
  }
}

type Loaded = Raw & { readonly timers: Raw[] | null; readonly effects: Raw[] | null };

/** One statement, so that an actor and what belongs to it are of one moment. */
const LOAD = `
  select ${ACTOR_COLUMNS},
         (select json_agg(t) from actor_timers t where t.kind = a.kind and t.id = a.id) as timers,
         (select json_agg(e) from actor_effects e where e.kind = a.kind and e.id = a.id) as effects
    from actors a join unnest($1::text[], $2::text[]) r(r_kind, r_id) on a.kind = r_kind and a.id = r_id`;

function refOf(raw: Raw): ActorRef {
  return { kind: raw.kind as string, id: raw.id as string };
}

import { randomUUID } from 'node:crypto';
import pg from 'pg';
import type { ActorRef } from '../definition.ts';
import { giveUpEnvelope, retryEnvelope, sent } from '../engine/by-hand.ts';
import { Engine } from '../engine/engine.ts';
import { envelopeOf } from '../engine/envelope.ts';
import { openEffect, openTimer } from '../engine/open-work.ts';
import { silentLog } from '../log.ts';
import type { PostgresRuntime } from '../runtime.ts';
import type { RuntimeOptions } from '../runtime-options.ts';
import type { EffectRow } from '../step/actor-state.ts';
import { legalCommands } from '../step/legal-commands.ts';
import { rowView } from '../step/stored-actor.ts';
import { Committer } from './committer.ts';
import { Feed } from './feed.ts';
import { NotifyChannel } from './notify-channel.ts';
import { list, summary } from './overview.ts';
import { Ownership } from './ownership.ts';
import { partitionOf } from './partition.ts';
import { type Poke, Poker, type RedisLike } from './poke.ts';
import { PostgresStore } from './postgres-store.ts';
import {
  ACTOR_COLUMNS,
  EFFECT_COLUMNS,
  ENTRY_COLUMNS,
  type Raw,
  TIMER_COLUMNS,
  toActorRow,
  toEffectRow,
  toJournalEntry,
  toTimerRow,
} from './rows.ts';
import { transact } from './transact.ts';

export interface PostgresRuntimeOptions extends RuntimeOptions {
  /** A URL, or what `pg` takes. The database has had `migrate()`. The runtime opens and closes its own connections. */
  readonly connection: string | pg.ClientConfig;
  /** Unique among replicas and restarts. Default: random. */
  readonly replicaId?: string;
  /** Where other replicas reach this one; only shown. */
  readonly address?: string;
  /** Pokes go by Redis where there is one (ioredis), else by NOTIFY. */
  readonly redis?: RedisLike;
  /** Commits in flight at a time, each on its own connection. */
  readonly lanes?: number;
  /** Idle actors kept in memory. */
  readonly keepIdle?: number;
}

const LANES = 4;
/** Connections for everything but commits. */
const READERS = 8;
/**
 * Statements of commits touch few rows of large tables, by key: a plan made while a table was small must not scan it for
 * ever. Plans are made once per connection.
 */
const COMMIT_SETTINGS = '-c enable_seqscan=off -c jit=off -c plan_cache_mode=force_generic_plan';

/** The durable actor runtime over PostgreSQL. Nothing runs before `start()`. */
export function createPostgresRuntime(options: PostgresRuntimeOptions): PostgresRuntime {
  const { definitions, handlers, log = silentLog, redis } = options;
  const replicaId = options.replicaId ?? randomUUID();
  const connection: pg.ClientConfig =
    typeof options.connection === 'string' ? { connectionString: options.connection } : options.connection;
  const lanes = options.lanes ?? LANES;
  const pool = openPool({ ...connection, max: READERS, application_name: 'wrenn runtime' });
  const commits = openPool({ ...connection, max: lanes, application_name: 'wrenn commits', options: COMMIT_SETTINGS });
  const transactions = openPool({
    ...connection,
    max: lanes,
    application_name: 'wrenn transact',
    options: COMMIT_SETTINGS,
  });
  const channel = new NotifyChannel({ connection, pool, log });

  function openPool(config: pg.PoolConfig): pg.Pool {
    const opened = new pg.Pool(config);
    opened.on('error', (err) => log.warn({ err }, 'an idle database connection broke'));
    // One that is in use has nobody who hears: its next query says so.
    opened.on('connect', (client) => client.on('error', () => undefined));
    return opened;
  }

  const committer = new Committer(definitions);
  const feed = new Feed(pool);
  const poker = new Poker(replicaId, log);
  const ownership = new Ownership({
    connection,
    replicaId,
    address: options.address ?? null,
    log,
    gained: (partitions, owned) => store.takeOver([...partitions.keys()], owned),
    lost: (partitions) => {
      const isLost = (ref: ActorRef) => partitions.has(partitionOf(ref));
      store.released(isLost);
      engine.release(isLost);
    },
  });
  const store = new PostgresStore({ pool, commits, ownership, committer, poker, feed, log });
  const keep = options.keepIdle === undefined ? {} : { keepIdle: options.keepIdle };
  const engine = new Engine({ store, definitions, handlers, log, lanes, ...keep });

  async function connectPokes(): Promise<void> {
    const heard = (poke: Poke) => store.heard(poke);
    const { rows } = await pool.query<{ name: string }>('select current_database() as name');
    if (redis) {
      poker.overRedis(redis, `wrenn:runtime:${rows[0]?.name}`, heard);
      return;
    }
    await poker.overNotify(channel, heard);
  }

  async function effectRows({ kind, id }: ActorRef): Promise<EffectRow[]> {
    const text = `select ${EFFECT_COLUMNS} from actor_effects where kind = $1 and id = $2 order by number`;
    return (await pool.query<Raw>(text, [kind, id])).rows.map(toEffectRow);
  }

  return {
    definitions: engine.definitions,
    ask: async (to, event, send) => engine.ask(envelopeOf(to, event, send, true), send),
    tell: async (to, event, send) => sent(engine, envelopeOf(to, event, send, false)),
    owns: (to) => store.epochOf(to) !== null,
    transact: (to, event, send) => transact({ engine, store, committer, pool: transactions }, to, event, send),
    async read({ kind, id }) {
      const text = `select ${ACTOR_COLUMNS} from actors where kind = $1 and id = $2`;
      const [raw] = (await pool.query<Raw>(text, [kind, id])).rows;
      return raw ? rowView(engine.machine(kind), toActorRow(raw)) : null;
    },
    async timers({ kind, id }) {
      const text = `select ${TIMER_COLUMNS} from actor_timers where kind = $1 and id = $2 order by due_at`;
      return (await pool.query<Raw>(text, [kind, id])).rows.map((raw) => openTimer(toTimerRow(raw)));
    },
    effects: async (ref) => (await effectRows(ref)).map((effect) => openEffect(engine, ref, effect)),
    legalCommands: (view) => legalCommands(engine.machine(view.kind), view as never, store.now()),
    async journal({ kind, id }, { afterSeq = 0, limit = 100 }) {
      const text = `select ${ENTRY_COLUMNS} from actor_events where kind = $1 and id = $2 and seq > $3 order by seq limit $4`;
      return (await pool.query<Raw>(text, [kind, id, afterSeq, limit])).rows.map(toJournalEntry);
    },
    feed: (cursor, signal) => feed.read(cursor, signal),
    async retryEffect(ref, number, cause) {
      if (!(await effectRows(ref)).some((effect) => effect.number === number)) return false;
      await sent(engine, retryEnvelope(ref, number, cause));
      return true;
    },
    async giveUpEffect(ref, number, cause) {
      const effect = (await effectRows(ref)).find((row) => row.number === number);
      const envelope = effect && giveUpEnvelope(engine, ref, effect, cause);
      if (!envelope) return false;
      await sent(engine, envelope);
      return true;
    },
    summary: (teamId) => summary(pool, store.now(), teamId),
    list: (filter) => list(pool, store.now(), filter, (row) => rowView(engine.machine(row.kind), row)),
    async start() {
      store.listen(engine);
      await connectPokes();
      await ownership.start();
    },
    async stop() {
      store.stop();
      await engine.stop();
      await ownership.stop();
      poker.close();
      feed.stop();
      await Promise.all([channel.close(), pool.end(), commits.end(), transactions.end()]);
    },
  };
}

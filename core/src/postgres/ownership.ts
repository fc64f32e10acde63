import { randomInt } from 'node:crypto';
import pg from 'pg';
import type { Logger } from '../log.ts';
import { PARTITIONS } from './partition.ts';

export interface OwnershipOptions {
  readonly connection: pg.ClientConfig;
  readonly replicaId: string;
  readonly address: string | null;
  readonly log: Logger;
  /** Owned in the database from now on; `owned` is called when their rows are read and work on them begins. */
  readonly gained: (partitions: ReadonlyMap<number, number>, owned: () => void) => Promise<void>;
  readonly lost: (partitions: ReadonlySet<number>) => void;
}

/** How long a replica that hangs keeps its partitions (H7: "within seconds"). */
const LEASE_MS = 10_000;
const RENEW_MS = 3_000;
/** How soon a dead replica is noticed; its session ended with it, so its lock can be taken. */
const LOOK_MS = 500;
const RECONNECT_MS = 100;

/**
 * Which partitions this replica owns, and under which epochs.
 *
 * One session lives as long as the replica and holds its advisory lock. Whoever can take that lock knows the replica is
 * dead and takes its partitions at once; the lease's time counts by the database's clock and covers replicas that hang.
 * Partitions are shared evenly: who has too many lets some go.
 */
export class Ownership {
  readonly #options: OwnershipOptions;
  readonly #epochs = new Map<number, number>();
  #session: pg.Client | null = null;
  #id = '';
  #renewedAt = 0;
  #clockOffsetMs = 0;
  #peers = 0;
  #stopped = false;
  #looking: Promise<void> = Promise.resolve();
  #timer: NodeJS.Timeout | undefined;

  constructor(options: OwnershipOptions) {
    this.#options = options;
  }

  /** Milliseconds since 1970 by the database's clock, as of the last look. */
  now(): number {
    return Date.now() + this.#clockOffsetMs;
  }

  epochOf(partition: number): number | null {
    return this.#epochs.get(partition) ?? null;
  }

  owned(): number[] {
    return [...this.#epochs.keys()];
  }

  /** Other replicas that live. */
  get peers(): number {
    return this.#peers;
  }

  /** Resolves when every partition has an owner that lives, as far as this replica is concerned. */
  async start(): Promise<void> {
    await this.#connect();
    while (!(await this.#look())) await new Promise((resolve) => setTimeout(resolve, 20));
    this.#schedule();
  }

  /** Looks now: after a commit was lost. */
  refresh(): Promise<void> {
    this.#looking = this.#looking.then(async () => {
      if (!this.#stopped) await this.#lookSafely();
    });
    return this.#looking;
  }

  /** Lets all partitions go, so that others take them at once. */
  async stop(): Promise<void> {
    this.#stopped = true;
    clearTimeout(this.#timer);
    await this.#looking;
    this.#epochs.clear();
    const session = this.#session;
    this.#session = null;
    if (!session) return;
    session.removeAllListeners('end');
    await session.query('update partitions set owner = null where owner = $1', [this.#id]).catch(() => undefined);
    await session.query('delete from replicas where id = $1', [this.#id]).catch(() => undefined);
    await session.end().catch(() => undefined);
  }

  #schedule(): void {
    if (this.#stopped) return;
    this.#timer = setTimeout(() => void this.refresh().finally(() => this.#schedule()), LOOK_MS);
  }

  /** A new life: a session with its lock, and a row under an id that no earlier life had. */
  async #connect(): Promise<void> {
    const session = new pg.Client({ ...this.#options.connection, application_name: 'wrenn owner', keepAlive: true });
    session.on('error', (err) => this.#options.log.warn({ err }, 'the session of the replica broke'));
    await session.connect();
    this.#id = `${this.#options.replicaId}.${randomInt(2 ** 47).toString(36)}`;
    const lockKey = randomInt(2 ** 47);
    await session.query('select pg_advisory_lock($1)', [lockKey]);
    await session.query(
      `insert into replicas (id, lock_key, lease_until, address)
       values ($1, $2, clock_timestamp() + $3 * interval '1 millisecond', $4)`,
      [this.#id, lockKey, LEASE_MS, this.#options.address],
    );
    session.once('end', () => {
      if (this.#session !== session) return;
      this.#session = null;
      this.#loseAll();
    });
    this.#session = session;
    this.#renewedAt = Date.now();
  }

  async #lookSafely(): Promise<void> {
    try {
      if (!this.#session) await this.#connect();
      await this.#look();
    } catch (err) {
      this.#options.log.warn({ err }, 'the leases could not be looked at');
      await new Promise((resolve) => setTimeout(resolve, RECONNECT_MS));
    }
  }

  async #look(): Promise<boolean> {
    const session = this.#session;
    if (!session) return false;
    if (!(await this.#renew(session))) return false;
    await session.query('begin');
    let taken: Map<number, number>;
    let mine: Map<number, number>;
    let settled: boolean;
    try {
      const dead = await this.#dead(session);
      const { rows } = await session.query<{ live: number }>(
        'select count(*)::int as live from replicas where id <> all ($1)',
        [dead],
      );
      const live = Math.max(1, rows[0]?.live ?? 1);
      this.#peers = live - 1;
      const fair = Math.ceil(PARTITIONS / live);
      mine = await this.#mine(session);
      taken = await this.#take(session, dead, fair - mine.size);
      await session.query(
        'delete from replicas r where id = any ($1) and not exists (select from partitions where owner = r.id)',
        [dead],
      );
      const free = await session.query(
        'select from partitions p where not exists (select from replicas r where r.id = p.owner) or owner = any ($1)',
        [dead],
      );
      settled = free.rowCount === 0;
      await session.query('commit');
    } catch (error) {
      await session.query('rollback').catch(() => undefined);
      throw error;
    }
    this.#compare(mine);
    if (taken.size > 0) {
      await this.#options.gained(taken, () => {
        for (const [partition, epoch] of taken) this.#epochs.set(partition, epoch);
      });
    }
    await this.#share(session);
    return settled;
  }

  /** False when others declared this replica dead: everything is lost, and a new life begins. */
  async #renew(session: pg.Client): Promise<boolean> {
    const sentAt = Date.now();
    const due = sentAt - this.#renewedAt >= RENEW_MS || this.#clockOffsetMs === 0;
    const { rows } = await session.query<{ now: string }>(
      due
        ? `update replicas set lease_until = clock_timestamp() + $2 * interval '1 millisecond' where id = $1
           returning extract(epoch from clock_timestamp()) * 1000 as now`
        : `select extract(epoch from clock_timestamp()) * 1000 as now from replicas where id = $1`,
      due ? [this.#id, LEASE_MS] : [this.#id],
    );
    const [row] = rows;
    if (!row) {
      this.#session = null;
      await session.end().catch(() => undefined);
      this.#loseAll();
      await this.#connect();
      return false;
    }
    const receivedAt = Date.now();
    this.#clockOffsetMs = Math.round(Number(row.now) - (sentAt + receivedAt) / 2);
    if (due) this.#renewedAt = sentAt;
    return true;
  }

  async #dead(session: pg.Client): Promise<string[]> {
    const { rows } = await session.query<{ id: string }>(
      `select id from (select id, lock_key, lease_until from replicas where id <> $1 offset 0) r
        where lease_until < clock_timestamp() or pg_try_advisory_xact_lock(lock_key)`,
      [this.#id],
    );
    return rows.map(({ id }) => id);
  }

  async #mine(session: pg.Client): Promise<Map<number, number>> {
    const { rows } = await session.query<{ id: number; epoch: string }>(
      'select id, epoch from partitions where owner = $1',
      [this.#id],
    );
    return new Map(rows.map(({ id, epoch }) => [id, Number(epoch)]));
  }

  /** Waits for the dead owner's commits that are in flight: they hold the row `for share`. */
  async #take(session: pg.Client, dead: readonly string[], wanted: number): Promise<Map<number, number>> {
    if (wanted <= 0) return new Map();
    const { rows } = await session.query<{ id: number; epoch: string }>(
      `update partitions set owner = $1, epoch = nextval('partition_epochs')
        where id in (select id from partitions p
                      where owner is null or owner = any ($2) or not exists (select from replicas r where r.id = p.owner)
                      order by id limit $3 for update)
       returning id, epoch`,
      [this.#id, dead, wanted],
    );
    return new Map(rows.map(({ id, epoch }) => [id, Number(epoch)]));
  }

  /** What the database says is ours against what we believe. */
  #compare(mine: ReadonlyMap<number, number>): void {
    const lost = new Set([...this.#epochs].filter(([id, epoch]) => mine.get(id) !== epoch).map(([id]) => id));
    if (lost.size > 0) this.#lose(lost);
  }

  /** Lets go what is beyond a fair share. */
  async #share(session: pg.Client): Promise<void> {
    const fair = Math.ceil(PARTITIONS / (this.#peers + 1));
    const surplus = this.owned()
      .sort((a, b) => b - a)
      .slice(0, Math.max(0, this.#epochs.size - fair));
    if (surplus.length === 0) return;
    this.#lose(new Set(surplus));
    await session.query('update partitions set owner = null where owner = $1 and id = any ($2)', [this.#id, surplus]);
  }

  #lose(partitions: ReadonlySet<number>): void {
    for (const partition of partitions) this.#epochs.delete(partition);
    this.#options.lost(partitions);
  }

  #loseAll(): void {
    if (this.#epochs.size > 0) this.#lose(new Set(this.#epochs.keys()));
  }
}

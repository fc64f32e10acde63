import type pg from 'pg';
import { WrennError } from '../errors.ts';
import type { JournalEntry } from '../runtime.ts';
import { isConnectionLoss } from './pg-errors.ts';
import { ENTRY_COLUMNS, type Raw, toJournalEntry } from './rows.ts';

const PAGE = 500;
/** Readers look this often without being woken: a poke may be lost. */
const SAFETY_MS = 1_000;
/** A row is there but an older transaction still runs; it usually ends at once. */
const UNSETTLED_MS = 10;
/** Pause before another try when the database is away. */
const AWAY_MS = 200;

/**
 * The journal of all actors in the order of commits. Ids alone become visible out of order, and a reader that resumes by
 * them would miss rows: the cursor is (transaction, place), and reading stops below the oldest transaction that runs.
 */
export class Feed {
  readonly #pool: pg.Pool;
  readonly #sleeping = new Set<() => void>();
  #stopped = false;

  constructor(pool: pg.Pool) {
    this.#pool = pool;
  }

  /** Ends all readers. */
  stop(): void {
    this.#stopped = true;
    this.wake();
  }

  /** The journal has grown. */
  wake(): void {
    for (const wake of [...this.#sleeping]) wake();
  }

  async *read(cursor: string | null, signal: AbortSignal): AsyncGenerator<JournalEntry> {
    let at = cursor === null ? await this.#persistently(() => this.#tip(), signal) : parseCursor(cursor);
    while (!signal.aborted && !this.#stopped) {
      const woken = this.#sleep(signal);
      const { entries, unsettled } = await this.#persistently(() => this.#page(at), signal);
      for (const entry of entries) {
        if (signal.aborted) return;
        yield entry;
      }
      const last = entries.at(-1);
      if (last) at = parseCursor(last.cursor);
      if (entries.length < PAGE) await (unsettled ? pause(UNSETTLED_MS) : woken.promise);
      woken.cancel();
    }
  }

  /** A reader outlives the database's connections: it goes on where it was. */
  async #persistently<T>(read: () => Promise<T>, signal: AbortSignal): Promise<T> {
    for (;;) {
      try {
        return await read();
      } catch (error) {
        if (signal.aborted || this.#stopped || !isConnectionLoss(error)) throw error;
        await pause(AWAY_MS);
      }
    }
  }

  async #tip(): Promise<Cursor> {
    const { rows } = await this.#pool.query<{ xid: string }>(
      'select pg_snapshot_xmin(pg_current_snapshot())::text as xid',
    );
    return { xid: rows[0]?.xid ?? '0', place: '0' };
  }

  async #page({ xid, place }: Cursor): Promise<{ entries: JournalEntry[]; unsettled: boolean }> {
    const { rows } = await this.#pool.query<Raw & { settled: boolean }>({
      name: 'feed_page',
      text: `select ${ENTRY_COLUMNS}, actor_events.xid < pg_snapshot_xmin(pg_current_snapshot()) as settled
               from actor_events where (actor_events.xid, place) > ($1::xid8, $2::bigint)
              order by actor_events.xid, place limit ${PAGE}`,
      values: [xid, place],
    });
    const end = rows.findIndex(({ settled }) => !settled);
    return { entries: (end < 0 ? rows : rows.slice(0, end)).map(toJournalEntry), unsettled: end >= 0 };
  }

  /** Armed before the page is read, so that a commit between reading and sleeping is not slept through. */
  #sleep(signal: AbortSignal): { promise: Promise<void>; cancel(): void } {
    let wake: () => void = () => undefined;
    const promise = new Promise<void>((resolve) => {
      wake = resolve;
    });
    const timer = setTimeout(wake, SAFETY_MS);
    this.#sleeping.add(wake);
    signal.addEventListener('abort', wake, { once: true });
    const cancel = () => {
      clearTimeout(timer);
      this.#sleeping.delete(wake);
      signal.removeEventListener('abort', wake);
    };
    return { promise, cancel };
  }
}

interface Cursor {
  readonly xid: string;
  readonly place: string;
}

function parseCursor(cursor: string): Cursor {
  const [, xid, place] = /^(\d{1,20})\.(\d{1,19})$/.exec(cursor) ?? [];
  if (xid === undefined || place === undefined) throw new WrennError('bad_request', 'this is no cursor of the feed');
  return { xid, place };
}

function pause(ms: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, ms));
}

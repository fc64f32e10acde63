import { type JournalEntry, query, WrennError } from '@wrenn/core';
import type { Pool } from 'pg';
import { z } from 'zod';
import type { VmFeed } from '../agents/vm-feed.ts';

/** An entry of a host's journal, as it was copied; `place` orders the copies by their commits. */
export interface VmFeedEntry {
  readonly place: string;
  readonly entry: JournalEntry;
}

const PAGE = 500;
/** Readers look this often without being woken: the hint comes by Redis and may be lost. */
const SAFETY_MS = 1_000;
/** A copy is there but an older transaction still runs; it usually ends at once. */
const UNSETTLED_MS = 10;

/** Pause before another try when the database is away. */
const AWAY_MS = 200;

const pageRow = z.object({
  place: z.string(),
  entry: z.custom<JournalEntry>(),
  settled: z.boolean(),
});

/**
 * Copies of hosts' journals after `cursor`, then live ones, until the signal: like the runtime's own feed, in the order of
 * (transaction, place) and below the oldest transaction that runs, so that whoever resumes misses nothing.
 */
export async function* vmJournalFeed(
  { sql, vmFeed }: { readonly sql: Pool; readonly vmFeed: VmFeed },
  cursor: string,
  signal: AbortSignal,
): AsyncGenerator<VmFeedEntry> {
  const alarm = new Alarm(signal);
  const unsubscribe = vmFeed.subscribe(() => alarm.ring());
  let at = cursor;
  try {
    while (!signal.aborted) {
      alarm.reset();
      const rows = await readPage(sql, at).catch(ifAway);
      if (rows === null) {
        await alarm.wait(AWAY_MS);
        continue;
      }
      const settled = rows.findIndex((row) => !row.settled);
      const page = settled < 0 ? rows : rows.slice(0, settled);
      for (const { place, entry } of page) {
        if (signal.aborted) return;
        yield { place, entry };
        at = place;
      }
      if (page.length < PAGE) await alarm.wait(settled < 0 ? SAFETY_MS : UNSETTLED_MS);
    }
  } finally {
    unsubscribe();
  }
}

/** A reader outlives the database's connections: it goes on where it was. */
function ifAway(error: unknown): null {
  if (error instanceof WrennError && error.code === 'unavailable') return null;
  throw error;
}

function readPage(sql: Pool, cursor: string) {
  const [xid = '0', place = '0'] = cursor.split('.');
  return query(
    sql,
    pageRow,
    `select xid::text || '.' || place as place, entry, xid < pg_snapshot_xmin(pg_current_snapshot()) as settled
       from vm_journal where (xid, place) > ($1::xid8, $2::bigint) order by xid, vm_journal.place limit ${PAGE}`,
    [xid, place],
  );
}

/** Rings while nobody waits are not lost. */
class Alarm {
  #rung = false;
  #wake: () => void = () => undefined;

  constructor(signal: AbortSignal) {
    signal.addEventListener('abort', () => this.ring(), { once: true });
  }

  reset(): void {
    this.#rung = false;
  }

  ring(): void {
    this.#rung = true;
    this.#wake();
  }

  async wait(ms: number): Promise<void> {
    if (this.#rung) return;
    await new Promise<void>((resolve) => {
      const timer = setTimeout(resolve, ms);
      this.#wake = () => {
        clearTimeout(timer);
        resolve();
      };
    });
  }
}

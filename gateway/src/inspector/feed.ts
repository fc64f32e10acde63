import { setTimeout as sleep } from 'node:timers/promises';
import type { JournalEntry } from '@wrenn/core';
import type { Socket } from '../http/socket.ts';
import type { Services } from '../services.ts';
import { type FeedCursor, feedCursorText, feedTip, parseFeedCursor } from './feed-cursor.ts';
import { FeedSocket } from './feed-socket.ts';
import { type EntryFilter, followJournals } from './follow-journals.ts';
import { entryJson } from './journal-json.ts';
import { COUNTS_MS, type StateCountJson } from './state-counts.ts';

/** More actors than this are told of as counts per state: no viewer draws that many. */
export const COLLAPSE_ABOVE = 10_000;
/** Back to entries at this part of it, so that the mode does not flicker. */
const EXPAND_AT = 0.9;
/** How often the number of actors is looked at while entries are sent. */
const REVIEW_MS = 10_000;

export interface FeedOptions extends EntryFilter {
  /** Null: from now on. */
  readonly cursor: string | null;
  readonly brief: boolean;
  readonly collapseAbove: number;
}

type Mode = 'entries' | 'counts';

/** Tells one viewer what happens, until it goes. */
export async function runFeed(services: Services, socket: Socket, options: FeedOptions): Promise<void> {
  let cursor = options.cursor === null ? await feedTip(services.sql) : parseFeedCursor(options.cursor);
  const viewer = new FeedSocket(socket, feedCursorText(cursor));
  let { mode, total } = await modeOf(services, options, 'entries');
  let type = 'hello';
  while (!viewer.signal.aborted) {
    await viewer.send({ type, mode, total, cursor: feedCursorText(cursor) });
    type = 'mode';
    const change = new AbortController();
    const signal = AbortSignal.any([viewer.signal, change.signal]);
    const told =
      mode === 'entries'
        ? sendEntries(services, viewer, options, cursor, signal)
        : sendCounts(services, viewer, options, signal);
    const reviewed = review(services, options, mode, signal).then((next) => {
      if (next) ({ mode, total } = next);
    });
    await Promise.race([told, reviewed]).finally(() => change.abort());
    await Promise.all([told, reviewed]);
    cursor = await feedTip(services.sql);
  }
}

/** Resolves when the mode has changed, or with null at the signal. */
async function review(services: Services, options: FeedOptions, mode: Mode, signal: AbortSignal) {
  while (options.ids === null) {
    const pause = mode === 'entries' ? REVIEW_MS : COUNTS_MS;
    if (!(await pauseFor(pause, signal))) return null;
    const next = await modeOf(services, options, mode).catch(() => null); // the database is away: later
    if (next && next.mode !== mode) return next;
  }
  await new Promise((resolve) => {
    if (signal.aborted) resolve(undefined);
    signal.addEventListener('abort', resolve, { once: true });
  });
  return null;
}

async function modeOf(services: Services, options: FeedOptions, before: Mode): Promise<{ mode: Mode; total: number }> {
  const counts = wantedCounts(await services.stateCounts.get(options.teamId), options);
  const total = counts.reduce((sum, { count }) => sum + count, 0);
  const limit = before === 'entries' ? options.collapseAbove : options.collapseAbove * EXPAND_AT;
  return { mode: options.ids === null && total > limit ? 'counts' : 'entries', total };
}

function sendEntries(
  services: Services,
  viewer: FeedSocket,
  options: FeedOptions,
  from: FeedCursor,
  signal: AbortSignal,
): Promise<void> {
  return followJournals(services, options, from, signal, (entry, at) => {
    const cursor = feedCursorText(at);
    return viewer.send({ type: 'entry', cursor, ...(options.brief ? brief(entry) : entryJson(entry)) }, cursor);
  });
}

async function sendCounts(services: Services, viewer: FeedSocket, options: FeedOptions, signal: AbortSignal) {
  let told = new Map<string, string>();
  let full = true;
  do {
    const known = await services.stateCounts.get(options.teamId).catch(() => null);
    if (!known) continue; // the database is away: later
    const rows = wantedCounts(known, options);
    const now = new Map(
      rows.map((row) => [`${row.kind} ${row.path}`, `${row.count} ${row.stuck} ${row.oldest_since}`]),
    );
    const changed = rows.filter(({ kind, path }) => told.get(`${kind} ${path}`) !== now.get(`${kind} ${path}`));
    const gone = [...told.keys()].filter((key) => !now.has(key)).map(emptyState);
    if (full || changed.length + gone.length > 0) {
      await viewer.send({ type: 'counts', full, at: new Date().toISOString(), items: [...changed, ...gone] });
    }
    full = false;
    told = now;
  } while (await pauseFor(COUNTS_MS, signal));
}

function emptyState(key: string): StateCountJson {
  const [kind = '', path = ''] = key.split(' ');
  return { kind, path, count: 0, stuck: 0, oldest_since: new Date().toISOString(), median_dwell_ms: 0 };
}

function wantedCounts(rows: readonly StateCountJson[], { kind }: FeedOptions): readonly StateCountJson[] {
  return kind === null ? rows : rows.filter((row) => row.kind === kind);
}

/** What a view of many actors needs. */
function brief(entry: JournalEntry) {
  const { diff: _diff, event, ...rest } = entryJson(entry);
  return { ...rest, event: { type: (event as { type: string }).type } };
}

/** False: the signal came first. */
async function pauseFor(ms: number, signal: AbortSignal): Promise<boolean> {
  return sleep(ms, undefined, { signal }).then(
    () => true,
    () => false,
  );
}

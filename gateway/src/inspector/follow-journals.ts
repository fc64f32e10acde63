import type { JournalEntry } from '@wrenn/core';
import type { Services } from '../services.ts';
import type { FeedCursor } from './feed-cursor.ts';
import { vmJournalFeed } from './vm-journal-feed.ts';

/** Which entries a viewer is told; null = all. */
export interface EntryFilter {
  readonly teamId: string | null;
  readonly kind: string | null;
  /** Of actors; a vm is found by the id of its sandbox too. */
  readonly ids: readonly string[] | null;
}

/**
 * Tells `take` of every wanted entry after `from`, until the signal: the two journals side by side, each in its order. The
 * cursor that comes with an entry is true of both. Reading waits for `take`.
 */
export async function followJournals(
  { runtime, sql, vmFeed }: Pick<Services, 'runtime' | 'sql' | 'vmFeed'>,
  filter: EntryFilter,
  from: FeedCursor,
  signal: AbortSignal,
  take: (entry: JournalEntry, cursor: FeedCursor) => Promise<void>,
): Promise<void> {
  let at = from;
  const ours = async () => {
    if (filter.kind === 'vm') return;
    for await (const entry of runtime.feed(from.actors, signal)) {
      at = { ...at, actors: entry.cursor };
      if (wanted(entry, filter)) await take(entry, at);
    }
  };
  const theirs = async () => {
    if (filter.kind !== null && filter.kind !== 'vm') return;
    for await (const { entry, place } of vmJournalFeed({ sql, vmFeed }, from.vms, signal)) {
      at = { ...at, vms: place };
      if (wanted(entry, filter)) await take(entry, at);
    }
  };
  await Promise.all([ours(), theirs()]).catch((error: unknown) => {
    if (!signal.aborted) throw error;
  });
}

function wanted(entry: JournalEntry, { teamId, kind, ids }: EntryFilter): boolean {
  if (teamId !== null && entry.teamId !== teamId) return false;
  if (kind !== null && entry.kind !== kind) return false;
  return ids === null || ids.some((id) => entry.id === id || (entry.kind === 'vm' && entry.id.startsWith(`${id}.`)));
}

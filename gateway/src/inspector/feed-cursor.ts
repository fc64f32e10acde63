import type { Pool } from 'pg';

/**
 * A place in the feed: in the journal of this control plane's actors, and in the copies of hosts' journals. Each is
 * `<transaction>.<place>`; as text they are joined by `~`. A text without `~` stands for the same place in both, which is
 * only true of one that `feedTip` gave.
 */
export interface FeedCursor {
  readonly actors: string;
  readonly vms: string;
}

export const FEED_CURSOR = /^\d{1,20}\.\d{1,19}(~\d{1,20}\.\d{1,19})?$/;

export function parseFeedCursor(text: string): FeedCursor {
  const [actors = '', vms = actors] = text.split('~');
  return { actors, vms };
}

export function feedCursorText({ actors, vms }: FeedCursor): string {
  return actors === vms ? actors : `${actors}~${vms}`;
}

/** From now on: everything that is not committed yet comes after it. */
export async function feedTip(sql: Pool): Promise<FeedCursor> {
  const { rows } = await sql.query<{ xid: string }>('select pg_snapshot_xmin(pg_current_snapshot())::text as xid');
  const place = `${rows[0]?.xid ?? '0'}.0`;
  return { actors: place, vms: place };
}

import { type Queryable, query, queryOne } from '@wrenn/core';
import { z } from 'zod';

export const keyRow = z.object({
  id: z.string(),
  name: z.string(),
  prefix: z.string(),
  created_by: z.string(),
  created_at: z.date(),
  expires_at: z.date().nullable(),
  last_used_at: z.date().nullable(),
});
export type KeyRow = z.output<typeof keyRow>;

const COLUMNS = 'id, name, prefix, created_by, created_at, expires_at, last_used_at';

export interface NewKey {
  readonly id: string;
  readonly teamId: string;
  readonly name: string;
  readonly hash: Buffer;
  readonly prefix: string;
  readonly createdBy: string;
  readonly expiresAt: string | null;
}

export async function insertKey(tx: Queryable, key: NewKey): Promise<KeyRow> {
  const [row] = await query(
    tx,
    keyRow,
    `insert into api_keys (id, team_id, name, hash, prefix, created_by, expires_at)
     values ($1, $2, $3, $4, $5, $6, $7) returning ${COLUMNS}`,
    [key.id, key.teamId, key.name, key.hash, key.prefix, key.createdBy, key.expiresAt],
  );
  return row as KeyRow;
}

/** Newest first; revoked ones are not shown. `before`: the last row of the page before. */
export function listKeys(
  sql: Queryable,
  teamId: string,
  page: { readonly before: readonly [string, string] | null; readonly limit: number },
): Promise<KeyRow[]> {
  return query(
    sql,
    keyRow,
    `select ${COLUMNS} from api_keys
      where team_id = $1 and revoked_at is null
        and ($2::timestamptz is null or (date_trunc('milliseconds', created_at), id) < ($2, $3))
      order by date_trunc('milliseconds', created_at) desc, id desc limit $4`,
    [teamId, page.before?.[0] ?? null, page.before?.[1] ?? null, page.limit],
  );
}

export function findKey(sql: Queryable, teamId: string, id: string): Promise<KeyRow | null> {
  return queryOne(
    sql,
    keyRow,
    `select ${COLUMNS} from api_keys where team_id = $1 and id = $2 and revoked_at is null`,
    [teamId, id],
  );
}

export async function revokeKey(tx: Queryable, id: string): Promise<void> {
  await tx.query('update api_keys set revoked_at = now() where id = $1', [id]);
}

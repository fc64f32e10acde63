import { WrennError } from '@wrenn/core';
import type { DatabaseError, Pool } from 'pg';
import { PLATFORM_TEAM_ID } from '../identity/ids.ts';
import { usedBefore } from '../sandboxes/idempotency.ts';

interface Claim {
  readonly teamId: string;
  readonly snapshotId: string;
  readonly name: string;
  /** What it is to be made of. */
  readonly sandboxId: string;
}

/**
 * Takes a name for a snapshot that is to be made (TPL5): a row `making`, which the snapshot's actor turns into the
 * template or removes. A claim whose request died before it reached the sandbox is taken over after ten minutes: no
 * snapshot is in the making for so long, and none that is has its claim taken. So is the name of a snapshot whose host is
 * no longer of the fleet. A repeated request has the name already; `conflict` where its id is another request's.
 */
export async function claimName(sql: Pool, claim: Claim): Promise<void> {
  const { teamId, snapshotId, name, sandboxId } = claim;
  const inserted = sql.query(
    `insert into templates as t (id, team_id, name, type, state, disk_size_mb, sandbox_id)
     select $1, $2, $3, 'snapshot', 'making', 0, $5
      where not exists (select 1 from templates p where p.team_id = $4 and p.name = $3)
     on conflict (team_id, name) do update
       set id = excluded.id, state = excluded.state, host_id = null, sandbox_id = excluded.sandbox_id, created_at = now()
     where (t.state = 'making' and t.created_at < now() - interval '10 minutes'
             and not exists (select 1 from sandboxes s where s.operation_snapshot_id = t.id))
        or exists (select 1 from hosts h where h.id = t.host_id and h.status = 'deleted')`,
    [snapshotId, teamId, name, PLATFORM_TEAM_ID, sandboxId],
  );
  // The id may be taken with another name, and with this one too: by the same request, at the same moment.
  const outcome = await inserted.then(
    ({ rowCount }) => (rowCount === 0 ? 'taken' : 'claimed'),
    (error: DatabaseError) => {
      if (error.constraint !== 'templates_pkey') throw error;
      return 'id taken';
    },
  );
  if (outcome === 'claimed') return;
  const { rows } = await sql.query('select name, sandbox_id from templates where id = $1', [snapshotId]);
  if (rows.length === 0 && outcome === 'id taken') return claimName(sql, claim); // released meanwhile
  if (rows.length === 0) throw new WrennError('already_exists', `There is a template ${JSON.stringify(name)} already.`);
  if (rows[0].name !== name || rows[0].sandbox_id !== sandboxId) throw usedBefore();
}

/** The snapshot was not begun. */
export async function releaseName(sql: Pool, snapshotId: string): Promise<void> {
  await sql.query(`delete from templates where id = $1 and state = 'making'`, [snapshotId]);
}

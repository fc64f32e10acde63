import { type ActorView, type JournalEntry, query, queryOne, type StateCount } from '@wrenn/core';
import type { Pool } from 'pg';
import { z } from 'zod';
import type { SeenActor } from './actor-access.ts';

/** Reads what agents told of their `vm` actors (tables vm_mirrors, vm_journal). */

const ms = z.date().transform((date) => date.getTime());
const mirrorRow = z.object({
  id: z.string(),
  host_id: z.string(),
  team_id: z.string().nullable(),
  state: z.json(),
  path: z.string(),
  context: z.json(),
  seq: z.coerce.number(),
  machine_version: z.number(),
  done: z.boolean(),
  created_at: ms,
  since: ms,
  updated_at: ms,
});
const COLUMNS = Object.keys(mirrorRow.shape).join(', ');

export async function loadMirror(sql: Pool, id: string): Promise<SeenActor | null> {
  const row = await queryOne(sql, mirrorRow, `select ${COLUMNS} from vm_mirrors where id = $1`, [id]);
  return row && { view: toView(row), teamId: row.team_id, mirrorOf: row.host_id };
}

/** Of one sandbox, the latest first. */
export function listMirrorsOf(sql: Pool, sandboxId: string): Promise<ActorView[]> {
  return listRows(sql, 'sandbox_id = $1 order by created_at desc limit 100', [sandboxId]);
}

/** A page by id; a team's or (null) all. Mirrors are never stuck: their host decides. */
export function listMirrors(
  sql: Pool,
  filter: {
    readonly teamId: string | null;
    readonly state: string | null;
    readonly after: string;
    readonly limit: number;
  },
): Promise<ActorView[]> {
  return listRows(
    sql,
    `id > $1 and ($2::text is null or team_id = $2) and ($3::text is null or path = $3 or starts_with(path, $3 || '.'))
      order by id limit $4`,
    [filter.after, filter.teamId, filter.state, filter.limit],
  );
}

/** As the runtime's summary; mirrors are never stuck. */
export async function summarizeMirrors(sql: Pool, teamId: string | null): Promise<StateCount[]> {
  const row = z.object({ path: z.string(), count: z.number(), oldest: ms, dwell: z.number() });
  const rows = await query(
    sql,
    row,
    `select path, count(*)::int as count, min(since) as oldest,
            (1000 * percentile_cont(0.5) within group (order by extract(epoch from now() - since)::float8))::float8 as dwell
       from vm_mirrors where not done and ($1::text is null or team_id = $1) group by path order by path`,
    [teamId],
  );
  return rows.map(({ path, count, oldest, dwell }) => ({
    kind: 'vm',
    path,
    count,
    oldestSince: oldest,
    medianDwellMs: Math.max(0, Math.round(dwell)),
    stuck: 0,
  }));
}

export async function mirrorJournal(sql: Pool, id: string, afterSeq: number, limit: number): Promise<JournalEntry[]> {
  const { rows } = await sql.query<{ entry: JournalEntry }>(
    'select entry from vm_journal where id = $1 and seq > $2 order by seq limit $3',
    [id, afterSeq, limit],
  );
  return rows.map(({ entry }) => entry);
}

async function listRows(sql: Pool, condition: string, values: readonly unknown[]): Promise<ActorView[]> {
  const rows = await query(sql, mirrorRow, `select ${COLUMNS} from vm_mirrors where ${condition}`, values);
  return rows.map(toView);
}

function toView(row: z.output<typeof mirrorRow>): ActorView {
  return {
    kind: 'vm',
    id: row.id,
    state: row.state,
    path: row.path,
    tags: [],
    context: row.context,
    seq: row.seq,
    machineVersion: row.machine_version,
    createdAt: row.created_at,
    since: row.since,
    updatedAt: row.updated_at,
    done: row.done,
  };
}

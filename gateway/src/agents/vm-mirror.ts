import { machineAsData, vmDefinition } from '@wrenn/actors';
import { type JournalEntry, type Json, type Queryable, queryOne } from '@wrenn/core';
import { z } from 'zod';
import { applyDiff } from './json-patch.ts';

/** The copy of an agent's `vm` actors that the inspector reads (table vm_mirrors), and its bounds. */

/** Entries older than this are dropped. */
const KEEP_DAYS = 7;
/** Entries of all hosts together, whatever their age. */
const KEEP_ENTRIES = 200_000;

/** Where a VM's life is over: nothing is left of it, or a sandbox has taken it over. */
const ENDS = new Set(
  machineAsData(vmDefinition)
    .root.states.filter(({ type }) => type === 'final')
    .map(({ path }) => path),
);

const mirrorRow = z.object({ context: z.json(), seq: z.coerce.number(), since: z.date(), state: z.json() });

/** Adds one entry to the copy. False: it was there already and changes nothing, so that a replay is harmless. */
export async function mirrorEntry(sql: Queryable, hostId: string, entry: JournalEntry): Promise<boolean> {
  const { id, seq } = entry;
  const before = await queryOne(sql, mirrorRow, 'select context, seq, since, state from vm_mirrors where id = $1', [
    id,
  ]);
  if (before && before.seq >= seq) return false;
  const at = new Date(entry.at);
  const moved = before === null || JSON.stringify(before.state) !== JSON.stringify(entry.to);
  await sql.query(
    `with entry as (
       insert into vm_journal (id, seq, at, entry) values ($1, $2, $3, $4) on conflict do nothing)
     insert into vm_mirrors as m
       (id, host_id, sandbox_id, team_id, state, path, context, seq, machine_version, done, created_at, since, updated_at)
     values ($1, $5, $6, $7, $8, $9, $10, $2, $11, $12, $3, $3, $3)
     on conflict (id) do update set
       host_id = excluded.host_id, team_id = coalesce(excluded.team_id, m.team_id), state = excluded.state,
       path = excluded.path, context = excluded.context, seq = excluded.seq, machine_version = excluded.machine_version,
       done = excluded.done, since = case when $13 then excluded.since else m.since end, updated_at = excluded.updated_at
     where m.seq < excluded.seq`,
    [
      id,
      seq,
      at,
      JSON.stringify(entry),
      hostId,
      id.split('.', 1)[0],
      entry.teamId,
      JSON.stringify(entry.to),
      entry.path,
      JSON.stringify(contextAfter(before?.context ?? null, entry)),
      entry.machineVersion,
      ENDS.has(entry.path),
      moved,
    ],
  );
  return true;
}

/** A replay that begins in the middle has no whole context; what is known then is better than nothing. */
function contextAfter(before: Json, entry: JournalEntry): Json {
  try {
    return applyDiff(before, entry.diff);
  } catch {
    return before;
  }
}

/** Drops what is beyond the bounds. */
export async function pruneMirrors(sql: Queryable): Promise<void> {
  await sql.query(
    `delete from vm_journal where at < greatest(
       now() - $1 * interval '1 day',
       (select at from vm_journal order by at desc offset $2 limit 1))`,
    [KEEP_DAYS, KEEP_ENTRIES],
  );
  await sql.query(`delete from vm_mirrors where done and updated_at < now() - $1 * interval '1 day'`, [KEEP_DAYS]);
}

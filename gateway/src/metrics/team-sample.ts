import { type Queryable, queryOne } from '@wrenn/core';
import { z } from 'zod';

/** Time between two samples (MET1). */
export const SAMPLE_MS = 10_000;
const KEEP_DAYS = 60;

/** Names the sampler among the advisory locks of this database. */
const SAMPLER_LOCK = 0x77726e01;

/**
 * Columns of an aggregate over `sandboxes`. A paused sandbox counts with half of what it had, rounded up; one that is about
 * to run or to stop holds its VM and counts in full.
 */
export const RESERVED = `
  count(*) filter (where status = 'running')::int as running,
  ${share('vcpus')} as vcpus,
  ${share('memory_mb')} as memory_mb`;

function share(column: string): string {
  return `coalesce(sum(case
    when status in ('starting', 'running', 'pausing', 'resuming', 'missing', 'stopping') then ${column}
    when status = 'paused' then (${column} + 1) / 2 else 0 end), 0)::int`;
}

/**
 * Takes one sample of every team that has something, or had at the last sample. Of replicas that do this at the same time
 * one does; a sample that is there for this moment already is left as it is. False: another replica does it.
 */
export async function sampleTeams(sql: Queryable): Promise<boolean> {
  const turn = await queryOne(
    sql,
    z.object({ mine: z.boolean() }),
    `with turn as materialized (
       select pg_try_advisory_xact_lock($1) as mine,
              date_bin($2 * interval '1 millisecond', now(), 'epoch') as at),
     present as (
       select team_id, ${RESERVED} from sandboxes where status not in ('stopped', 'error') group by team_id),
     ended as (
       select distinct on (team_id) team_id, running + vcpus + memory_mb as last from team_metrics
        where at > now() - interval '1 hour' order by team_id, at desc),
     taken as (
       insert into team_metrics (at, team_id, running, vcpus, memory_mb)
       select turn.at, team_id, coalesce(p.running, 0), coalesce(p.vcpus, 0), coalesce(p.memory_mb, 0)
         from turn, present p full join ended e using (team_id)
        where turn.mine and (p.team_id is not null or e.last > 0)
       on conflict do nothing)
     select mine from turn`,
    [SAMPLER_LOCK, SAMPLE_MS],
  );
  return turn?.mine === true;
}

/** Drops what is older than 60 days. */
export async function pruneTeamSamples(sql: Queryable): Promise<void> {
  await sql.query(`delete from team_metrics where at < now() - $1 * interval '1 day'`, [KEEP_DAYS]);
}

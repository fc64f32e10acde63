import { type Queryable, query, queryOne } from '@wrenn/core';
import { z } from 'zod';
import { RESERVED, SAMPLE_MS } from './team-sample.ts';

const used = z.object({ running: z.int(), vcpus: z.int(), memory_mb: z.int() });

export const teamStats = z
  .object({
    range: z.enum(['5m', '1h', '6h', '24h', '30d']),
    bucket_sec: z.int(),
    current: used,
    peaks_30d: used.meta({ description: 'Each by itself; they need not be of one moment' }),
    series: z.array(used.extend({ at: z.iso.datetime().meta({ description: "The bucket's beginning" }) })),
  })
  .meta({ id: 'TeamStats' });

export type StatsRange = z.output<typeof teamStats>['range'];

/** Seconds, in all and per bucket (MET1). */
const RANGES: Readonly<Record<StatsRange, { readonly seconds: number; readonly bucket: number }>> = {
  '5m': { seconds: 300, bucket: 3 },
  '1h': { seconds: 3_600, bucket: 30 },
  '6h': { seconds: 21_600, bucket: 180 },
  '24h': { seconds: 86_400, bucket: 720 },
  '30d': { seconds: 2_592_000, bucket: 21_600 },
};

/** A bucket without a sample of its own repeats the last one, if that is not older than this: buckets may be shorter than the pause between two samples. */
const CARRIED_MS = 3 * SAMPLE_MS;

const bucketRow = used.extend({ at: z.date() });

export async function readTeamStats(
  sql: Queryable,
  teamId: string,
  range: StatsRange,
): Promise<z.output<typeof teamStats>> {
  const { seconds, bucket } = RANGES[range];
  const [current, peaks, buckets] = await Promise.all([
    queryOne(sql, used, `select ${RESERVED} from sandboxes where team_id = $1`, [teamId]),
    queryOne(
      sql,
      used,
      `select coalesce(max(running), 0) as running, coalesce(max(vcpus), 0) as vcpus,
              coalesce(max(memory_mb), 0) as memory_mb
         from team_metrics where team_id = $1 and at > now() - interval '30 days'`,
      [teamId],
    ),
    query(
      sql,
      bucketRow,
      `with grid as (
         select b as at, b + $3 * interval '1 second' as until
           from generate_series(
             date_bin($3 * interval '1 second', now() - $2 * interval '1 second', 'epoch') + $3 * interval '1 second',
             now(), $3 * interval '1 second') b),
       own as (
         select date_bin($3 * interval '1 second', at, 'epoch') as at,
                max(running) as running, max(vcpus) as vcpus, max(memory_mb) as memory_mb
           from team_metrics where team_id = $1 and at > now() - ($2 + $3) * interval '1 second' group by 1)
       select grid.at, coalesce(own.running, before.running, 0) as running, coalesce(own.vcpus, before.vcpus, 0) as vcpus,
              coalesce(own.memory_mb, before.memory_mb, 0) as memory_mb
         from grid left join own on own.at = grid.at
         left join lateral (
           select m.running, m.vcpus, m.memory_mb from team_metrics m
            where own.at is null and m.team_id = $1 and m.at < grid.until
              and m.at >= least(grid.until, now()) - $4 * interval '1 millisecond'
            order by m.at desc limit 1) before on true
        order by grid.at`,
      [teamId, seconds, bucket, CARRIED_MS],
    ),
  ]);
  const nothing = { running: 0, vcpus: 0, memory_mb: 0 };
  return {
    range,
    bucket_sec: bucket,
    current: current ?? nothing,
    peaks_30d: peaks ?? nothing,
    series: buckets.map(({ at, ...values }) => ({ at: at.toISOString(), ...values })),
  };
}

import { type MetricFamily, one, query } from '@wrenn/core';
import { z } from 'zod';
import type { Services } from '../services.ts';

/** What the whole fleet does: the same on every replica. No team, sandbox or host has a name here. */
export async function fleetMetrics({ sql, stateCounts, readiness, viewers }: Services): Promise<MetricFamily[]> {
  const [states, hosts, effects] = await Promise.all([stateCounts.get(null), loadHosts(sql), loadEffects(sql)]);
  return [
    one('wrenn_in_control', 'gauge', 'Whether this replica is in control of its actors.', Number(readiness.inControl)),
    one('wrenn_feed_viewers', 'gauge', 'Sockets that follow the journals on this replica.', viewers.count),
    family('wrenn_actors', 'Actors that are not done, by kind and state.', states, ({ kind, path, count }) => ({
      labels: { kind, state: path },
      value: count,
    })),
    family('wrenn_actors_stuck', 'Of those, past a deadline or with an effect given up.', states, (row) => ({
      labels: { kind: row.kind, state: row.path },
      value: row.stuck,
    })),
    family('wrenn_effects', 'Effects that are to be done, by name and status.', effects, (row) => ({
      labels: { name: row.name, status: row.status },
      value: row.count,
    })),
    family('wrenn_hosts', 'Hosts by status.', hosts, ({ status, count }) => ({ labels: { status }, value: count })),
    family('wrenn_host_vcpus', 'vCPUs that hosts offer.', hosts, ({ status, vcpus }) => ({
      labels: { status },
      value: vcpus,
    })),
    family('wrenn_host_memory_bytes', 'Memory that hosts offer.', hosts, ({ status, memory_mb }) => ({
      labels: { status },
      value: memory_mb * MIB,
    })),
    family('wrenn_host_reserved_vcpus', 'vCPUs that sandboxes have reserved on them.', hosts, (row) => ({
      labels: { status: row.status },
      value: row.reserved_vcpus,
    })),
    family('wrenn_host_reserved_memory_bytes', 'Memory that sandboxes have reserved on them.', hosts, (row) => ({
      labels: { status: row.status },
      value: row.reserved_memory_mb * MIB,
    })),
    {
      name: 'wrenn_sql_connections',
      type: 'gauge',
      help: 'Connections of the API to PostgreSQL, and requests that wait for one.',
      samples: [
        { labels: { state: 'open' }, value: sql.totalCount },
        { labels: { state: 'idle' }, value: sql.idleCount },
        { labels: { state: 'waiting' }, value: sql.waitingCount },
      ],
    },
  ];
}

const MIB = 1 << 20;

function family<Row>(
  name: string,
  help: string,
  rows: readonly Row[],
  sample: (row: Row) => MetricFamily['samples'][number],
): MetricFamily {
  return { name, type: 'gauge', help, samples: rows.map(sample) };
}

const hostRow = z.object({
  status: z.string(),
  count: z.int(),
  vcpus: z.int(),
  memory_mb: z.int(),
  reserved_vcpus: z.int(),
  reserved_memory_mb: z.int(),
});

function loadHosts(sql: Services['sql']) {
  return query(
    sql,
    hostRow,
    `select h.status, count(*)::int as count, sum(h.vcpus)::int as vcpus, sum(h.memory_mb)::int as memory_mb,
            coalesce(sum(r.vcpus), 0)::int as reserved_vcpus, coalesce(sum(r.memory_mb), 0)::int as reserved_memory_mb
       from hosts h
       left join lateral (select sum(vcpus) as vcpus, sum(memory_mb) as memory_mb
                            from reservations where host_id = h.id) r on true
      where h.status <> 'deleted' group by h.status order by h.status`,
  );
}

const effectRow = z.object({ name: z.string(), status: z.string(), count: z.int() });

function loadEffects(sql: Services['sql']) {
  return query(
    sql,
    effectRow,
    'select name, status, count(*)::int as count from actor_effects group by name, status order by name, status',
  );
}

import { type Queryable, query, queryOne } from '@wrenn/core';
import { z } from 'zod';
import { type Network, network } from './fields.ts';

/** What E2B's surface knows of a sandbox beside our own row. */
export interface E2bFacts {
  readonly sandboxId: string;
  readonly teamId: string;
  readonly metadata: Readonly<Record<string, string>>;
  /** As it was asked for. */
  readonly template: string;
  readonly network: Network;
  readonly allowInternet: boolean | null;
}

const COLUMNS = `s.id, s.team_id, s.status, s.template, s.vcpus, s.memory_mb, s.disk_size_mb, s.ends_at, s.on_end,
  s.auto_resume, s.access_token, s.traffic_token, s.public_ports, s.host_id, s.created_at, s.started_at, s.status_since,
  coalesce(e.metadata, s.labels) as metadata, e.template as asked_template, coalesce(e.network, '{}') as network,
  e.allow_internet`;

export const e2bRow = z.object({
  id: z.string(),
  team_id: z.string(),
  status: z.string(),
  template: z.string(),
  vcpus: z.number(),
  memory_mb: z.number(),
  disk_size_mb: z.number(),
  ends_at: z.date().nullable(),
  on_end: z.string().nullable(),
  auto_resume: z.boolean(),
  access_token: z.string(),
  traffic_token: z.string(),
  public_ports: z.union([z.array(z.number()), z.literal('all')]).nullable(),
  host_id: z.string().nullable(),
  created_at: z.date(),
  started_at: z.date().nullable(),
  status_since: z.date(),
  metadata: z.record(z.string(), z.string()),
  asked_template: z.string().nullable(),
  network,
  allow_internet: z.boolean().nullable(),
});
export type E2bRow = z.output<typeof e2bRow>;

/** Before the sandbox is made, so that its first request already finds it. */
export async function insertFacts(sql: Queryable, facts: E2bFacts): Promise<void> {
  await sql.query(
    `insert into e2b_sandboxes (sandbox_id, team_id, metadata, template, network, allow_internet, mask_host)
     values ($1, $2, $3, $4, $5, $6, $7) on conflict (sandbox_id) do nothing`,
    [
      facts.sandboxId,
      facts.teamId,
      JSON.stringify(facts.metadata),
      facts.template,
      JSON.stringify(facts.network),
      facts.allowInternet,
      facts.network.maskRequestHost ?? null,
    ],
  );
}

/** The children of a fork are as their parent. */
export async function copyFacts(sql: Queryable, parentId: string, childIds: readonly string[]): Promise<void> {
  await sql.query(
    `insert into e2b_sandboxes (sandbox_id, team_id, metadata, template, network, allow_internet, mask_host)
     select child, team_id, metadata, template, network, allow_internet, mask_host
       from e2b_sandboxes, unnest($2::text[]) as child where sandbox_id = $1 on conflict (sandbox_id) do nothing`,
    [parentId, childIds],
  );
}

export async function replaceNetwork(
  sql: Queryable,
  sandboxId: string,
  changed: Network,
  allowInternet: boolean | null,
): Promise<void> {
  await sql.query('update e2b_sandboxes set network = $2, allow_internet = $3 where sandbox_id = $1', [
    sandboxId,
    JSON.stringify(changed),
    allowInternet,
  ]);
}

/** Null for unknown sandboxes, for another team's, and for those that are gone: E2B knows none that has ended. */
export async function findE2b(sql: Queryable, teamId: string, id: string): Promise<E2bRow | null> {
  return queryOne(
    sql,
    e2bRow,
    `select ${COLUMNS} from sandboxes s left join e2b_sandboxes e on e.sandbox_id = s.id
      where s.id = $1 and s.team_id = $2 and s.status not in ('stopping', 'stopped', 'error')`,
    [id, teamId],
  );
}

export interface E2bFilter {
  readonly teamId: string;
  /** Of our own statuses. */
  readonly statuses: readonly string[];
  readonly metadata: Readonly<Record<string, string>>;
  readonly startedAfter: string | null;
  readonly template: string | null;
  readonly order: 'asc' | 'desc';
  /** Time and id of the last row of the page before. */
  readonly after: readonly [string, string] | null;
  readonly limit: number;
}

export function listE2b(sql: Queryable, filter: E2bFilter): Promise<E2bRow[]> {
  const [sign, order] = filter.order === 'asc' ? ['>', 'asc'] : ['<', 'desc'];
  return query(
    sql,
    e2bRow,
    `select ${COLUMNS} from sandboxes s left join e2b_sandboxes e on e.sandbox_id = s.id
      where s.team_id = $1 and s.status = any ($2) and coalesce(e.metadata, s.labels) @> $3::jsonb
        and ($4::timestamptz is null or coalesce(s.started_at, s.created_at) >= $4)
        and ($5::text is null or s.template = $5 or e.template = $5)
        and ($6::timestamptz is null or (date_trunc('milliseconds', s.created_at), s.id) ${sign} ($6, $7))
      order by date_trunc('milliseconds', s.created_at) ${order}, s.id ${order}
      limit $8`,
    [
      filter.teamId,
      filter.statuses,
      JSON.stringify(filter.metadata),
      filter.startedAfter,
      filter.template,
      filter.after?.[0] ?? null,
      filter.after?.[1] ?? null,
      filter.limit,
    ],
  );
}

export async function countRunning(sql: Queryable, teamId: string): Promise<number> {
  const row = await queryOne(
    sql,
    z.object({ count: z.coerce.number() }),
    `select count(*) from sandboxes where team_id = $1 and status = 'running'`,
    [teamId],
  );
  return row?.count ?? 0;
}

import { type Queryable, query, queryOne } from '@wrenn/core';
import { z } from 'zod';
import type { UserAuth } from '../http/auth.ts';
import { forbidden, notFound } from '../http/problems.ts';

const hostRow = z.object({
  id: z.string(),
  team_id: z.string().nullable(),
  name: z.string(),
  status: z.string(),
  status_since: z.date(),
  address: z.string().nullable(),
  tags: z.array(z.string()),
  specs: z.record(z.string(), z.unknown()).nullable(),
  vcpus: z.number(),
  memory_mb: z.number(),
  reserved: z.object({ sandboxes: z.number(), vcpus: z.number(), memory_mb: z.number() }),
  vms: z.number(),
  load: z.record(z.string(), z.number()),
  orphans: z.array(z.object({ sandbox_id: z.string(), incarnation: z.number(), since: z.string() })),
  last_heartbeat_at: z.date().nullable(),
  credentials_expire_at: z.date().nullable(),
  created_at: z.date(),
  registered_at: z.date().nullable(),
});
export type HostRow = z.output<typeof hostRow>;

const SELECT = `
  select h.id, h.team_id, h.name, h.status, h.status_since, h.address, h.tags, h.specs, h.vcpus, h.memory_mb,
         (select jsonb_build_object('sandboxes', count(*), 'vcpus', coalesce(sum(r.vcpus), 0),
                                    'memory_mb', coalesce(sum(r.memory_mb), 0))
            from reservations r where r.host_id = h.id) as reserved,
         h.vms, h.load, h.orphans, h.last_heartbeat_at, h.credentials_expire_at, h.created_at, h.registered_at
    from hosts h`;

/** A team sees its own hosts; platform hosts are for platform admins only. */
const VISIBLE = `h.status <> 'deleted' and (h.team_id = $1 or ($2 and h.team_id is null))`;

export function listHosts(
  sql: Queryable,
  auth: UserAuth,
  page: { readonly after: readonly string[] | null; readonly limit: number },
): Promise<HostRow[]> {
  return query(sql, hostRow, `${SELECT} where ${VISIBLE} and ($3::text is null or h.id > $3) order by h.id limit $4`, [
    auth.teamId,
    auth.isAdmin,
    page.after?.[0] ?? null,
    page.limit,
  ]);
}

/** 404 where it is not there or not to be seen; with `manage`, 403 for members who may only look (API8). */
export async function findHost(sql: Queryable, auth: UserAuth, id: string, access: 'see' | 'manage'): Promise<HostRow> {
  const row = await queryOne(sql, hostRow, `${SELECT} where ${VISIBLE} and h.id = $3`, [auth.teamId, auth.isAdmin, id]);
  if (!row) throw notFound('No such host.');
  if (access === 'manage' && row.team_id !== null && auth.role === 'member') {
    throw forbidden('Only owners and admins of the team may do this.');
  }
  return row;
}

const sandboxRow = z.object({ id: z.string(), team_id: z.string(), status: z.string(), template: z.string() });

/** What goes when the host is deleted by force: running and paused alike (H6). */
export function sandboxesOn(sql: Queryable, hostId: string): Promise<z.output<typeof sandboxRow>[]> {
  return query(
    sql,
    sandboxRow,
    `select id, team_id, status, template from sandboxes
      where host_id = $1 and status not in ('stopped', 'error') order by id limit 1000`,
    [hostId],
  );
}

export function hostJson({ team_id, ...row }: HostRow) {
  return {
    ...row,
    byoc: team_id !== null,
    status_since: row.status_since.toISOString(),
    last_heartbeat_at: row.last_heartbeat_at?.toISOString() ?? null,
    credentials_expire_at: row.credentials_expire_at?.toISOString() ?? null,
    created_at: row.created_at.toISOString(),
    registered_at: row.registered_at?.toISOString() ?? null,
  };
}

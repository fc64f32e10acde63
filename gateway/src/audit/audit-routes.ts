import { query } from '@wrenn/core';
import { z } from 'zod';
import { decodeCursor, toPage } from '../http/page-cursor.ts';
import { badRequest } from '../http/problems.ts';
import { type Routes, route } from '../http/route.ts';
import { line, list, page, pageQuery, timestamp } from '../http/schemas.ts';

const status = z.enum(['success', 'info', 'warning', 'error']);

const entry = z
  .object({
    id: z.string(),
    at: timestamp,
    scope: z.enum(['team', 'admin']),
    actor: z.object({ type: z.string(), id: z.string().nullable(), name: z.string().nullable() }),
    action: z.string().meta({ examples: ['sandbox.create'] }),
    resource_type: z.string(),
    resource_id: z.string().nullable(),
    status,
    metadata: z.record(z.string(), z.unknown()),
  })
  .meta({ id: 'AuditEntry' });

const row = z.object({
  id: z.string(),
  at: z.date(),
  /** With microseconds, which a Date loses: the cursor must not skip or repeat within one millisecond. */
  at_text: z.string(),
  scope: z.string(),
  actor_type: z.string(),
  actor_id: z.string().nullable(),
  actor_name: z.string().nullable(),
  action: z.string(),
  resource_type: z.string(),
  resource_id: z.string().nullable(),
  status: z.string(),
  metadata: z.record(z.string(), z.unknown()),
});

/** AUD1: the team's trail, newest first. Members read scope `team`, owners and admins `admin` too. */
export const auditRoutes: Routes = [
  route({
    method: 'GET',
    path: '/v1/audit-logs',
    auth: ['J'],
    tag: 'Audit',
    summary: "The team's trail, newest first",
    query: z.strictObject({
      ...pageQuery,
      resource_type: list(line(50)).optional(),
      resource_id: line(100).optional(),
      action: list(line(100)).optional(),
      status: list(status).optional(),
    }),
    responses: { 200: { description: 'A page', schema: page(entry) } },
    handler: async ({ auth, query: filter }, { sql }) => {
      const before = decodeCursor(filter.cursor, 2);
      if (before && !AT_TEXT.test(before[0] ?? '')) throw badRequest('cursor: not one that was given out');
      const rows = await query(
        sql,
        row,
        `select id, at, to_char(at at time zone 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"') as at_text, scope,
                actor_type, actor_id, actor_name, action, resource_type, resource_id, status, metadata
           from audit_logs
          where team_id = $1 and scope = any ($2)
            and ($3::text[] is null or resource_type = any ($3))
            and ($4::text[] is null or action = any ($4))
            and ($5::text[] is null or status = any ($5))
            and ($6::text is null or resource_id = $6)
            and ($7::timestamptz is null or (at, id) < ($7, $8))
          order by at desc, id desc limit $9`,
        [
          auth.teamId,
          auth.role === 'member' ? ['team'] : ['team', 'admin'],
          filter.resource_type ?? null,
          filter.action ?? null,
          filter.status ?? null,
          filter.resource_id ?? null,
          before?.[0] ?? null,
          before?.[1] ?? null,
          filter.limit + 1,
        ],
      );
      return { status: 200, body: toPage(rows, filter.limit, entryJson, ({ at_text, id }) => [at_text, id]) };
    },
  }),
];

const AT_TEXT = /^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z$/;

function entryJson({ at, at_text: _, actor_type, actor_id, actor_name, ...rest }: z.output<typeof row>) {
  return { ...rest, at: at.toISOString(), actor: { type: actor_type, id: actor_id, name: actor_name } };
}

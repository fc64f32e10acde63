import { query } from '@wrenn/core';
import { z } from 'zod';
import { decodeCursor, toPage } from '../http/page-cursor.ts';
import { type Routes, route } from '../http/route.ts';
import { list, page, pageQuery, timestamp } from '../http/schemas.ts';
import { PLATFORM_TEAM_ID } from '../identity/ids.ts';

const type = z.enum(['base', 'snapshot']);

const template = z
  .object({
    name: z.string().meta({ description: 'What create accepts as `template`' }),
    type,
    platform: z.boolean().meta({ description: 'Of the platform team: every team sees it' }),
    vcpus: z.number().int().nullable().meta({ description: 'Fixed by a snapshot; null where create chooses' }),
    memory_mb: z.number().int().nullable(),
    disk_size_mb: z.number().int(),
    size_bytes: z.number().int().nullable().meta({ description: 'Allocated, not apparent; null while unknown' }),
    created_at: timestamp,
  })
  .meta({ id: 'Template' });

const row = z.object({
  name: z.string(),
  type,
  team_id: z.string(),
  vcpus: z.number().nullable(),
  memory_mb: z.number().nullable(),
  disk_size_mb: z.number(),
  size_bytes: z.coerce.number().nullable(),
  created_at: z.date(),
});

/** API4: what a sandbox can start from. */
export const templateRoutes: Routes = [
  route({
    method: 'GET',
    path: '/v1/templates',
    auth: ['K', 'J'],
    tag: 'Templates',
    summary: "The team's and the platform's templates",
    query: z.strictObject({ ...pageQuery, type: list(type).optional() }),
    responses: { 200: { description: 'A page, by name', schema: page(template) } },
    handler: async ({ auth, query: { type, limit, cursor } }, { sql }) => {
      const after = decodeCursor(cursor, 1);
      const rows = await query(
        sql,
        row,
        `select name, type, team_id, vcpus, memory_mb, disk_size_mb, size_bytes, created_at from templates
          where team_id in ($1, $2) and ($3::text[] is null or type = any ($3)) and ($4::text is null or name > $4)
          order by name limit $5`,
        [auth.teamId, PLATFORM_TEAM_ID, type ?? null, after?.[0] ?? null, limit + 1],
      );
      return { status: 200, body: toPage(rows, limit, templateJson, ({ name }) => [name]) };
    },
  }),
];

function templateJson({ team_id, created_at, ...rest }: z.output<typeof row>) {
  return { ...rest, platform: team_id === PLATFORM_TEAM_ID, created_at: created_at.toISOString() };
}

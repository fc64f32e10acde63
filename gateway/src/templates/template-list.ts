import { query } from '@wrenn/core';
import type { Pool } from 'pg';
import { z } from 'zod';
import { decodeCursor, toPage } from '../http/page-cursor.ts';
import { list, pageQuery, timestamp } from '../http/schemas.ts';
import { PLATFORM_TEAM_ID } from '../identity/ids.ts';

const type = z.enum(['base', 'snapshot']);

/** What a sandbox can start from (API4). */
export const templateObject = z
  .object({
    name: z.string().meta({ description: 'What create accepts as `template`' }),
    type,
    platform: z.boolean().meta({ description: 'Of the platform team: every team sees it' }),
    vcpus: z.number().int().nullable().meta({ description: 'Fixed by a snapshot; null where create chooses' }),
    memory_mb: z
      .number()
      .int()
      .nullable()
      .meta({ description: 'Fixed by a snapshot; else what create takes where it is given none; null: 512' }),
    disk_size_mb: z.number().int(),
    size_bytes: z.number().int().nullable().meta({ description: 'Allocated, not apparent; null while unknown' }),
    host_id: z.string().nullable().meta({ description: 'The host on which a snapshot lies; null: every host has it' }),
    sandbox_id: z.string().nullable().meta({ description: 'What a snapshot was made of' }),
    created_at: timestamp,
  })
  .meta({ id: 'Template' });
export type TemplateObject = z.output<typeof templateObject>;

export const templateQuery = z.strictObject({ ...pageQuery, type: list(type).optional() });

const row = z.object({
  name: z.string(),
  type,
  team_id: z.string(),
  vcpus: z.number().nullable(),
  memory_mb: z.number().nullable(),
  disk_size_mb: z.number(),
  size_bytes: z.coerce.number().nullable(),
  host_id: z.string().nullable(),
  sandbox_id: z.string().nullable(),
  created_at: z.date(),
});
const COLUMNS = Object.keys(row.shape).join(', ');

/**
 * What can be started from. A snapshot of which its sandbox tells only when the host has been removed from the fleet is
 * told of no removal any more: it counts as gone with the host.
 */
export const USABLE = `state = 'ready' and (host_id is null
  or exists (select 1 from hosts h where h.id = templates.host_id and h.status <> 'deleted'))`;

/** A page of the team's and the platform's templates, by name. */
export async function listTemplates(
  sql: Pool,
  teamId: string,
  { type: types, limit, cursor }: z.output<typeof templateQuery>,
) {
  const after = decodeCursor(cursor, 1);
  const rows = await query(
    sql,
    row,
    `select ${COLUMNS} from templates
      where team_id in ($1, $2) and ${USABLE} and ($3::text[] is null or type = any ($3))
        and ($4::text is null or name > $4)
      order by name limit $5`,
    [teamId, PLATFORM_TEAM_ID, types ?? null, after?.[0] ?? null, limit + 1],
  );
  return toPage(rows, limit, templateJson, ({ name }) => [name]);
}

function templateJson({ team_id, created_at, ...rest }: z.output<typeof row>): TemplateObject {
  return { ...rest, platform: team_id === PLATFORM_TEAM_ID, created_at: created_at.toISOString() };
}

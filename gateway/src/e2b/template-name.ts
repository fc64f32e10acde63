import { queryOne } from '@wrenn/core';
import type { Pool } from 'pg';
import { z } from 'zod';
import { PLATFORM_TEAM_ID } from '../identity/ids.ts';

/** Names that E2B's SDKs use by default, and what stands for them here. */
const ALIASES: Readonly<Record<string, string>> = { base: 'minimal', 'code-interpreter-v1': 'code-interpreter' };

export interface KnownTemplate {
  readonly id: string;
  readonly name: string;
  readonly team_id: string;
  readonly type: string;
}

const templateRow = z.object({ id: z.string(), name: z.string(), team_id: z.string(), type: z.string() });

/** A template by its id or name (`name`, `team/name`, either with `:tag`), as E2B's clients write it; null: there is none. */
export async function findTemplateByE2bName(sql: Pool, teamId: string, asked: string): Promise<KnownTemplate | null> {
  const name = (asked.split('/').at(-1) ?? '').split(':', 1)[0] ?? '';
  return queryOne(
    sql,
    templateRow,
    `select id, name, team_id, type from templates
      where team_id = any ($1) and state = 'ready' and (id = $2 or name = $2 or name = $3)
      order by id = $2 desc, name = $2 desc, team_id = $4 desc limit 1`,
    [[teamId, PLATFORM_TEAM_ID], name, ALIASES[name] ?? name, teamId],
  );
}

import { type LegalCommand, type PostgresRuntime, query, queryOne } from '@wrenn/core';
import type { Pool } from 'pg';
import {
  SANDBOX_ROW_COLUMNS,
  type SandboxObject,
  type SandboxRow,
  sandboxRow,
  toSandboxObject,
} from './sandbox-object.ts';

interface Stores {
  readonly sql: Pool;
  readonly runtime: PostgresRuntime;
}

/** Null for an unknown sandbox and for one of another team. */
export async function findSandbox({ sql }: Stores, teamId: string, id: string): Promise<SandboxRow | null> {
  return queryOne(sql, sandboxRow, `select ${SANDBOX_ROW_COLUMNS} from sandboxes where id = $1 and team_id = $2`, [
    id,
    teamId,
  ]);
}

export async function loadSandbox(stores: Stores, teamId: string, id: string): Promise<SandboxObject | null> {
  const row = await findSandbox(stores, teamId, id);
  if (!row) return null;
  const [object] = await withCommands(stores, [row]);
  return object ?? null;
}

/** Those of the ids that are the team's, in no order. */
export async function loadSandboxes(stores: Stores, teamId: string, ids: readonly string[]): Promise<SandboxObject[]> {
  const rows = await query(
    stores.sql,
    sandboxRow,
    `select ${SANDBOX_ROW_COLUMNS} from sandboxes where id = any ($1) and team_id = $2`,
    [ids, teamId],
  );
  return withCommands(stores, rows);
}

export interface SandboxFilter {
  readonly teamId: string;
  /** Empty: all but stopped ones. */
  readonly statuses: readonly string[];
  readonly labels: Readonly<Record<string, string>>;
  /** Time and id of the last row of the page before. */
  readonly before: readonly [string, string] | null;
  readonly limit: number;
}

/** Newest first. */
export function listSandboxes(sql: Pool, { teamId, statuses, labels, before, limit }: SandboxFilter) {
  return query(
    sql,
    sandboxRow,
    `select ${SANDBOX_ROW_COLUMNS} from sandboxes
      where team_id = $1
        and case when cardinality($2::text[]) = 0 then status <> 'stopped' else status = any ($2) end
        and labels @> $3::jsonb
        and ($4::timestamptz is null or (created_at, id) < ($4, $5))
      order by created_at desc, id desc
      limit $6`,
    [teamId, statuses, JSON.stringify(labels), before?.[0] ?? null, before?.[1] ?? null, limit],
  );
}

/**
 * The rows as the API shows them. Which commands are legal depends on the status and on what is being made of it, so one
 * actor of each kind is asked, not each of the page.
 */
export async function withCommands({ runtime }: Stores, rows: readonly SandboxRow[]): Promise<SandboxObject[]> {
  const examples = new Map(rows.map((row) => [kindOf(row), row.id]));
  const commands = new Map<string, LegalCommand[]>();
  await Promise.all(
    [...examples].map(async ([kind, id]) => {
      const view = await runtime.read({ kind: 'sandbox', id });
      commands.set(kind, view ? runtime.legalCommands(view) : []);
    }),
  );
  return rows.map((row) => toSandboxObject(row, commands.get(kindOf(row)) ?? []));
}

const kindOf = ({ status, operation }: SandboxRow): string => `${status} ${operation}`;

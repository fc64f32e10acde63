import type { Cause, Json, Queryable } from '@wrenn/core';

/** One line of the trail (AUD1). */
export interface AuditEntry {
  /** Null: of the platform. */
  readonly teamId: string | null;
  /** `team`: every member reads it; `admin`: owners and admins too. */
  readonly scope: 'team' | 'admin';
  readonly cause: Cause;
  readonly resourceType: string;
  readonly resourceId: string | null;
  /** `key.create` */
  readonly action: string;
  readonly status: 'success' | 'info' | 'warning' | 'error';
  readonly metadata?: { readonly [name: string]: Json };
}

/** Written in the transaction of what it records, or not at all. */
export async function recordAudit(tx: Queryable, entry: AuditEntry): Promise<void> {
  const { cause } = entry;
  const named = 'id' in cause ? cause : { id: null };
  await tx.query(
    `insert into audit_logs
       (team_id, scope, actor_type, actor_id, actor_name, resource_type, resource_id, action, status, metadata)
     values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)`,
    [
      entry.teamId,
      entry.scope,
      actorType(cause),
      named.id,
      'name' in cause ? (cause.name ?? null) : null,
      entry.resourceType,
      entry.resourceId,
      entry.action,
      entry.status,
      JSON.stringify(entry.metadata ?? {}),
    ],
  );
}

function actorType(cause: Cause): 'user' | 'api_key' | 'host' | 'system' {
  return cause.type === 'user' || cause.type === 'api_key' || cause.type === 'host' ? cause.type : 'system';
}

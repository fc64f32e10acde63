import type { SandboxSnapshot, SnapshotContext } from '@wrenn/actors';
import { queryOne, WrennError } from '@wrenn/core';
import { z } from 'zod';
import type { KeyAuth, UserAuth } from '../http/auth.ts';
import { notFound } from '../http/problems.ts';
import { PLATFORM_TEAM_ID } from '../identity/ids.ts';
import { ask, mustFind } from '../sandboxes/change-sandbox.ts';
import { usedBefore } from '../sandboxes/idempotency.ts';
import { answered } from '../sandboxes/sandbox-commands.ts';
import { sandboxId } from '../sandboxes/sandbox-id.ts';
import type { Services } from '../services.ts';
import type { TemplateObject } from '../templates/template-list.ts';
import { claimName, releaseName } from './claim-name.ts';
import { derivedSnapshotId, newSnapshotId } from './snapshot-id.ts';

export const snapshotName = z
  .string()
  .regex(
    /^[a-z0-9]([a-z0-9._-]{0,126}[a-z0-9])?$/,
    'must have 1 to 128 of a-z 0-9 . _ - and begin and end with one of a-z 0-9',
  );

export const snapshotBody = z
  .strictObject({ sandbox_id: sandboxId, name: snapshotName })
  .meta({ id: 'CreateSnapshot' });

/**
 * Makes the template; resolves with it when it can be used. A failure leaves nothing of it, its name is free again.
 * The same key with the same body gets the first answer, also when the template is gone since.
 */
export async function createSnapshot(
  services: Services,
  auth: KeyAuth | UserAuth,
  { sandbox_id: id, name: wanted }: z.output<typeof snapshotBody>,
  { signal, idempotencyKey: key = null }: { readonly signal: AbortSignal; readonly idempotencyKey?: string | null },
): Promise<TemplateObject> {
  const { teamId, cause } = auth;
  const target = { id, teamId, cause, signal, idempotencyKey: key && `${key}:${wanted}` };
  await mustFind(services, target);
  const snapshotId = key === null ? newSnapshotId() : derivedSnapshotId(teamId, key);
  const told = key === null ? null : await read(services, snapshotId);
  if (told && (told.sandbox_id !== id || told.name !== wanted)) throw usedBefore();
  const event: SandboxSnapshot = {
    type: 'SNAPSHOT',
    snapshot_id: snapshotId,
    name: wanted,
    created_by: auth.kind === 'K' ? auth.keyId : auth.userId,
  };
  if (told === null) await claimName(services.sql, { teamId, snapshotId, name: wanted, sandboxId: id });
  try {
    await ask(services, target, event);
  } catch (error) {
    // Refused: nothing was begun. What was begun and failed releases its name itself; a client that left lets it go on.
    if (!signal.aborted) await releaseName(services.sql, snapshotId);
    throw error;
  }
  if (told?.info) return templateOf(told);
  const ref = { kind: 'snapshot', id: snapshotId };
  answered(await services.runtime.ask(ref, { type: 'AWAIT', team_id: teamId }, { cause, signal }));
  return templateOf((await read(services, snapshotId)) as SnapshotContext);
}

/** What the sandbox has told the snapshot's actor of it; null before that. */
async function read({ runtime }: Services, snapshotId: string): Promise<SnapshotContext | null> {
  const context = (await runtime.read({ kind: 'snapshot', id: snapshotId }))?.context as SnapshotContext | undefined;
  return context && context.name !== '' ? context : null;
}

function templateOf(made: SnapshotContext): TemplateObject {
  const { name, vcpus, memory_mb, disk_size_mb, host_id, sandbox_id } = made;
  return {
    ...{ name, type: 'snapshot', platform: made.team_id === PLATFORM_TEAM_ID, vcpus, memory_mb, disk_size_mb },
    size_bytes: made.info && made.info.memory_bytes + made.info.disk_bytes,
    ...{ host_id, sandbox_id, created_at: new Date(made.created_at).toISOString() },
  };
}

/** 404 for a name that is not the team's, 403 for the platform's. Resolves when nobody can start from it any more. */
export async function deleteSnapshot(
  { sql, runtime }: Services,
  auth: KeyAuth | UserAuth,
  name: string,
  signal: AbortSignal,
): Promise<void> {
  const row = await queryOne(
    sql,
    z.object({ id: z.string(), team_id: z.string(), type: z.string() }),
    `select id, team_id, type from templates where name = $1 and team_id = any ($2) and state = 'ready'
      order by team_id = $3 desc limit 1`,
    [name, [auth.teamId, PLATFORM_TEAM_ID], auth.teamId],
  );
  if (!row) throw notFound('No such snapshot.');
  if (row.team_id !== auth.teamId || row.type !== 'snapshot') {
    throw new WrennError('forbidden', 'Only snapshots of the own team can be deleted.');
  }
  const answer = await runtime.ask({ kind: 'snapshot', id: row.id }, { type: 'DELETE' }, { cause: auth.cause, signal });
  answered(answer);
}

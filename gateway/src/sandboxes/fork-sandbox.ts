import { randomBytes } from 'node:crypto';
import type { ForkChild, ForkedChild, SandboxFork } from '@wrenn/actors';
import { WrennError } from '@wrenn/core';
import { z } from 'zod';
import type { Services } from '../services.ts';
import { newSnapshotId } from '../snapshots/snapshot-id.ts';
import { ask, type CommandTarget, mustFind } from './change-sandbox.ts';
import { usedBefore } from './idempotency.ts';
import { answered } from './sandbox-commands.ts';
import { newSandboxId } from './sandbox-id.ts';
import { type SandboxObject, sandboxObject } from './sandbox-object.ts';
import { loadSandboxes } from './sandbox-store.ts';

/** SN10. */
const MAX_CHILDREN = 100;
const count = z
  .int({ error: `must be a whole number from 1 to ${MAX_CHILDREN}` })
  .min(1, `must be from 1 to ${MAX_CHILDREN}`)
  .max(MAX_CHILDREN, `must be from 1 to ${MAX_CHILDREN}`);

export const forkBody = z.strictObject({ count: count.default(1) }).meta({ id: 'ForkSandbox' });

const childError = z.object({ code: z.string(), message: z.string(), sandbox_id: z.string() });
/** One child: the sandbox, or why it does not run. */
export const forkedItem = z
  .union([z.object({ sandbox: sandboxObject }), z.object({ error: childError })])
  .meta({ id: 'ForkedSandbox' });
export type ForkedItem = { sandbox: SandboxObject } | { error: z.output<typeof childError> };

/**
 * Freezes the sandbox for a moment and starts `count` others from what it was then; resolves when each of them runs or
 * has failed, with a result or an error for each, in no particular order of starting. The parent runs on (or stays
 * paused). `createdBy`: who the children belong to in the records. The same key with the same count gets the first
 * answer; with another count it is refused.
 */
export async function forkSandbox(
  services: Services,
  target: CommandTarget,
  { count: wanted, createdBy }: { readonly count: number; readonly createdBy: string },
): Promise<ForkedItem[]> {
  await mustFind(services, target);
  const event: SandboxFork = {
    type: 'FORK',
    snapshot_id: newSnapshotId(),
    children: Array.from({ length: wanted }, newChild),
    created_by: createdBy,
  };
  // A repeated request is the same message: its answer names the snapshot of the first.
  const { snapshot_id } = (await ask(services, target, event)) as { snapshot_id: string };
  const children = await awaitChildren(services, snapshot_id, target);
  if (children.length !== wanted) throw usedBefore();
  const ids = children.map(({ sandbox_id }) => sandbox_id);
  const objects = new Map((await loadSandboxes(services, target.teamId, ids)).map((one) => [one.id, one]));
  return children.map(({ sandbox_id, error }) => {
    const sandbox = objects.get(sandbox_id);
    if (error === null && sandbox) return { sandbox };
    const why = error ?? { code: 'not_found', message: 'it is gone already' };
    return { error: { ...why, sandbox_id } };
  });
}

const token = () => randomBytes(32).toString('base64url');

function newChild(): ForkChild {
  return { sandbox_id: newSandboxId(), access_token: token(), traffic_token: token() };
}

async function awaitChildren(
  { runtime }: Services,
  snapshotId: string,
  { teamId, cause, signal }: CommandTarget,
): Promise<ForkedChild[]> {
  const ref = { kind: 'snapshot', id: snapshotId };
  const answer = await runtime.ask(ref, { type: 'AWAIT', team_id: teamId }, { cause, signal });
  if (answer.ok) return (answer.value as { children: ForkedChild[] }).children;
  // All have told, and the snapshot is deleted by now.
  const view = await runtime.read(ref);
  if (view?.done) return (view.context as { children: ForkedChild[] }).children;
  answered(answer);
  throw new WrennError('internal', 'The fork did not say how its children came out.');
}

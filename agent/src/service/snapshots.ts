import { create } from '@bufbuild/protobuf';
import { type SnapshotInfo as SnapshotFact, type VmReport, vmReport, vmStatus } from '@wrenn/actors';
import {
  type CreateSnapshotRequest,
  type CreateSnapshotResponse,
  CreateSnapshotResponseSchema,
  type DeleteSnapshotRequest,
  type DeleteSnapshotResponse,
  DeleteSnapshotResponseSchema,
  type ForkSandboxRequest,
  type ForkSandboxResponse,
  ForkSandboxResponseSchema,
} from '@wrenn/proto/hostagent/v1/hostagent_pb';
import { infoOf } from '../snapshots/frozen.ts';
import { type CheckedCommand, checkCommand, checkSnapshotId } from './command.ts';
import type { ServiceContext } from './context.ts';
import { failure } from './failure.ts';
import { refuseStale } from './refuse.ts';
import { toReport, toSnapshotInfo } from './report.ts';

/** SN10. */
const MOST_CHILDREN = 100;

/** SN9: of a VM that runs on, or of a paused one. The same id again is the same snapshot. */
export async function createSnapshot(
  context: ServiceContext,
  request: CreateSnapshotRequest,
  signal: AbortSignal,
): Promise<CreateSnapshotResponse> {
  return create(CreateSnapshotResponseSchema, await snapshot(context, request, 0, signal));
}

/** SN10: the same, for starts that follow at once. */
export async function forkSandbox(
  context: ServiceContext,
  request: ForkSandboxRequest,
  signal: AbortSignal,
): Promise<ForkSandboxResponse> {
  const { children } = request;
  if (children < 1 || children > MOST_CHILDREN) throw failure('out_of_range', `children must be 1 to ${MOST_CHILDREN}`);
  return create(ForkSandboxResponseSchema, await snapshot(context, request, children, signal));
}

/** One that is not there counts as deleted. What was started from it lives on. */
export async function deleteSnapshot(
  context: ServiceContext,
  request: DeleteSnapshotRequest,
): Promise<DeleteSnapshotResponse> {
  await context.snapshots.delete(checkSnapshotId(request.snapshotId));
  return create(DeleteSnapshotResponseSchema, {});
}

async function snapshot(
  context: ServiceContext,
  request: CreateSnapshotRequest | ForkSandboxRequest,
  children: number,
  signal: AbortSignal,
) {
  const command = checkCommand(request.command);
  const id = checkSnapshotId(request.snapshotId);
  refuseStale(context, command);
  const made = await makeSnapshot(context, command, id, children, signal);
  const view = await context.journal.read(command.vmId);
  const { sandboxId: sandbox_id, incarnation, key } = command;
  const fact: VmReport = view === null ? { sandbox_id, incarnation, status: 'gone' } : vmReport(view);
  const origin = { storeId: context.journal.storeId, cursor: context.journal.cursor(), key };
  return { snapshot: toSnapshotInfo(made), report: toReport(fact, origin) };
}

/** The snapshot of a VM under an id; found there, it is that one. */
export async function makeSnapshot(
  context: ServiceContext,
  { sandboxId, incarnation, vmId, key, epoch }: CheckedCommand,
  id: string,
  children: number,
  signal: AbortSignal,
): Promise<SnapshotFact> {
  const there = await context.snapshots.find(id);
  if (there !== null) return infoOf(id, there, context.files.snapshot(id));
  const view = await context.journal.read(vmId);
  if (view !== null && vmStatus(view) === 'paused') return context.snapshots.copy(vmId, id, children > 0);
  const answer = await context.journal.runtime.ask(
    { kind: 'vm', id: vmId },
    { type: 'BRANCH', sandbox_id: sandboxId, incarnation, key, epoch, snapshot_id: id, children },
    { messageId: `branch:${key}`, cause: { type: 'system', name: 'control plane' }, signal },
  );
  if (!answer.ok) throw failure(answer.error.code, answer.error.message);
  const made = (answer.value as unknown as VmReport).snapshot;
  if (made === undefined) throw failure('snapshot_failed', 'no snapshot was made');
  return made;
}

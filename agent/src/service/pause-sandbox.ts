import { create } from '@bufbuild/protobuf';
import type { VmReport } from '@wrenn/actors';
import {
  type PauseSandboxRequest,
  type PauseSandboxResponse,
  PauseSandboxResponseSchema,
} from '@wrenn/proto/hostagent/v1/hostagent_pb';
import { checkCommand } from './command.ts';
import type { ServiceContext } from './context.ts';
import { failure } from './failure.ts';
import { refuseIfActive, refuseStale } from './refuse.ts';
import { toReport } from './report.ts';

/** SN1: answers when nothing but files is left, or with `pause_failed` when the VM runs on. */
export async function pauseSandbox(
  context: ServiceContext,
  request: PauseSandboxRequest,
  signal: AbortSignal,
): Promise<PauseSandboxResponse> {
  const command = checkCommand(request.command);
  const { sandboxId, incarnation, vmId, key, epoch } = command;
  refuseStale(context, command);
  if (request.ifIdleMs !== undefined) refuseIfActive(context, sandboxId, Number(request.ifIdleMs));
  const answer = await context.journal.runtime.ask(
    { kind: 'vm', id: vmId },
    { type: 'PAUSE', sandbox_id: sandboxId, incarnation, key, epoch },
    { messageId: `pause:${key}`, cause: { type: 'system', name: 'control plane' }, signal },
  );
  if (!answer.ok) throw failure(answer.error.code, answer.error.message);
  const origin = { storeId: context.journal.storeId, cursor: context.journal.cursor(), key };
  return create(PauseSandboxResponseSchema, { report: toReport(answer.value as unknown as VmReport, origin) });
}

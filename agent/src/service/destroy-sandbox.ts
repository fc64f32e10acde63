import { create } from '@bufbuild/protobuf';
import { type VmReport, vmReport } from '@wrenn/actors';
import {
  type DestroySandboxRequest,
  type DestroySandboxResponse,
  DestroySandboxResponseSchema,
} from '@wrenn/proto/hostagent/v1/hostagent_pb';
import { checkCommand } from './command.ts';
import type { ServiceContext } from './context.ts';
import { failure } from './failure.ts';
import { toReport } from './report.ts';

/**
 * Answers when nothing is left. An incarnation that was never seen here gets a grave first, so that a create that
 * arrives late is refused (I1).
 */
export async function destroySandbox(
  context: ServiceContext,
  request: DestroySandboxRequest,
  signal: AbortSignal,
): Promise<DestroySandboxResponse> {
  const { sandboxId, incarnation, vmId, key, epoch } = checkCommand(request.command);
  if (context.incarnations.isStale(sandboxId, epoch)) {
    throw failure('stale_epoch', `epoch ${epoch} is older than one that was seen`);
  }
  if (request.ifIdleMs !== undefined) refuseIfActive(context, sandboxId, Number(request.ifIdleMs));
  const known = await context.journal.read(vmId);
  context.incarnations.note(sandboxId, incarnation, known === null ? 'gone' : vmReport(known).status, epoch);
  const answer = await context.journal.runtime.ask(
    { kind: 'vm', id: vmId },
    { type: 'DESTROY', sandbox_id: sandboxId, incarnation, key, epoch },
    { messageId: `destroy:${key}`, cause: { type: 'system', name: 'control plane' }, signal },
  );
  const view = await context.journal.read(vmId);
  const done = view?.done === true;
  if (!answer.ok && !done) throw failure(answer.error.code, answer.error.message);
  const fact: VmReport = answer.ok || view === null ? (answer as unknown as { value: VmReport }).value : vmReport(view);
  const origin = { storeId: context.journal.storeId, cursor: context.journal.cursor(), key };
  return create(DestroySandboxResponseSchema, { report: toReport(fact, origin) });
}

/** SN7: the control plane's timer may be behind what happened here. */
function refuseIfActive(context: ServiceContext, sandboxId: string, ifIdleMs: number): void {
  const idleMs = context.activity.idleMs(sandboxId);
  if (idleMs === undefined || idleMs >= ifIdleMs) return;
  const headers = { 'wrenn-idle-ms': `${Math.floor(idleMs)}` };
  throw failure('active', `the sandbox was active ${Math.floor(idleMs)} ms ago`, { headers });
}

import { create } from '@bufbuild/protobuf';
import { type VmReport, vmReport } from '@wrenn/actors';
import {
  type DestroySandboxRequest,
  type DestroySandboxResponse,
  DestroySandboxResponseSchema,
} from '@wrenn/proto/hostagent/v1/hostagent_pb';
import { vmIdOf } from '../incarnations.ts';
import { type CheckedCommand, checkCommand } from './command.ts';
import type { ServiceContext } from './context.ts';
import { failure } from './failure.ts';
import { refuseIfActive, refuseStale } from './refuse.ts';
import { toReport } from './report.ts';

/**
 * Answers when nothing is left, of earlier incarnations neither: a paused one goes with the sandbox. An incarnation that was
 * never seen here gets a grave first, so that a create that arrives late is refused (I1).
 */
export async function destroySandbox(
  context: ServiceContext,
  request: DestroySandboxRequest,
  signal: AbortSignal,
): Promise<DestroySandboxResponse> {
  const command = checkCommand(request.command);
  const { sandboxId, incarnation, key } = command;
  refuseStale(context, command);
  if (request.ifIdleMs !== undefined) refuseIfActive(context, sandboxId, Number(request.ifIdleMs));
  const fact = await destroy(context, command, signal);
  for (const earlier of context.incarnations.held(sandboxId).filter((one) => one < incarnation)) {
    const vmId = vmIdOf(sandboxId, earlier);
    await destroy(context, { ...command, incarnation: earlier, vmId, key: `${key}.${earlier}` }, signal);
  }
  const origin = { storeId: context.journal.storeId, cursor: context.journal.cursor(), key };
  return create(DestroySandboxResponseSchema, { report: toReport(fact, origin) });
}

async function destroy(
  context: ServiceContext,
  { sandboxId, incarnation, vmId, key, epoch }: CheckedCommand,
  signal: AbortSignal,
): Promise<VmReport> {
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
  return answer.ok || view === null ? (answer as unknown as { value: VmReport }).value : vmReport(view);
}

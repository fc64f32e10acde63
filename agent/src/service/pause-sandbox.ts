import { create } from '@bufbuild/protobuf';
import type { VmReport } from '@wrenn/actors';
import type { Answer } from '@wrenn/core';
import {
  type PauseSandboxRequest,
  type PauseSandboxResponse,
  PauseSandboxResponseSchema,
} from '@wrenn/proto/hostagent/v1/hostagent_pb';
import type { VmJournal } from '../vm-journal.ts';
import { type CheckedCommand, checkCommand } from './command.ts';
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
  refuseStale(context, command);
  if (request.ifIdleMs !== undefined) refuseIfActive(context, command.sandboxId, Number(request.ifIdleMs));
  const answer = await askToPause(context.journal, command, signal);
  if (!answer.ok) throw failure(answer.error.code, answer.error.message);
  const origin = { storeId: context.journal.storeId, cursor: context.journal.cursor(), key: command.key };
  return create(PauseSandboxResponseSchema, { report: toReport(answer.value as unknown as VmReport, origin) });
}

/**
 * A VM that is busy (with a snapshot that its sandbox has given up, say) takes no pause now: `unavailable`, asked again
 * with the same key. A key has one answer, but a message that was refused has done nothing: the next one is another.
 */
export async function askToPause(
  { read, runtime }: Pick<VmJournal, 'read' | 'runtime'>,
  { sandboxId, incarnation, vmId, key, epoch }: CheckedCommand,
  signal: AbortSignal,
): Promise<Answer> {
  const event = { type: 'PAUSE', sandbox_id: sandboxId, incarnation, key, epoch };
  const cause = { type: 'system', name: 'control plane' } as const;
  const idOf = (tries: number) => (tries === 0 ? `pause:${key}` : `pause:${key}:${tries}`);
  for (let tries = 0; ; tries += 1) {
    const answer = await runtime.ask({ kind: 'vm', id: vmId }, event, { messageId: idOf(tries), cause, signal });
    if (answer.ok || answer.error.code !== 'illegal_command') return answer;
    const view = await read(vmId);
    if (view === null || view.done) return answer;
    const isUnderWay = view.context.pause_waiters.includes(idOf(tries + 1));
    const takesIt = runtime.legalCommands(view).some(({ type, legal }) => type === 'PAUSE' && legal);
    if (!isUnderWay && !takesIt) throw failure('unavailable', `the VM is ${view.path}`, { retryable: true });
  }
}

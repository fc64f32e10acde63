import { create } from '@bufbuild/protobuf';
import { type VmReport, type VmSource, type VmSpec, vmReport } from '@wrenn/actors';
import type { Answer, Json } from '@wrenn/core';
import {
  type CreateSandboxRequest,
  type CreateSandboxResponse,
  CreateSandboxResponseSchema,
  type VmReport as WireReport,
} from '@wrenn/proto/hostagent/v1/hostagent_pb';
import { type CheckedCommand, checkCommand, checkSnapshotId } from './command.ts';
import type { ServiceContext } from './context.ts';
import { failure } from './failure.ts';
import { toReport } from './report.ts';
import { checkSpec } from './spec.ts';

/** Of a start that came without a budget. */
const DEFAULT_BUDGET_MS = 120_000;

/**
 * Answers when the guest is ready, or when the start has failed and everything is undone: both are reports. Refused are
 * commands of an older owner and incarnations that were overtaken or buried (I1).
 */
export async function createSandbox(
  context: ServiceContext,
  request: CreateSandboxRequest,
  signal: AbortSignal,
): Promise<CreateSandboxResponse> {
  const command = checkCommand(request.command);
  const spec = checkSpec(request.spec, command.sandboxId);
  const { snapshotId } = request;
  const source: VmSource =
    snapshotId === '' ? { kind: 'template' } : { kind: 'snapshot', snapshot_id: checkSnapshotId(snapshotId) };
  return create(CreateSandboxResponseSchema, { report: await start(context, command, spec, source, signal) });
}

/** Starts an incarnation, whatever from; says what has become of it. */
export async function start(
  context: ServiceContext,
  command: CheckedCommand,
  spec: VmSpec,
  source: VmSource,
  signal: AbortSignal,
): Promise<WireReport> {
  const { sandboxId, incarnation, epoch } = command;
  const admission = context.incarnations.admit(sandboxId, { incarnation, epoch });
  if (!admission.admit) {
    const buried = admission.code === 'incarnation_buried' ? await burial(context, command) : null;
    if (buried !== null) return buried;
    throw failure(admission.code, admission.message, { retryable: admission.retryable });
  }
  const claim = source.kind === 'template' && !admission.join ? await context.warm.take(spec) : null;
  return respond(context, command, await ask(context, command, spec, source, claim, signal));
}

async function ask(
  context: ServiceContext,
  { sandboxId, incarnation, vmId, key, epoch, budgetMs }: CheckedCommand,
  spec: VmSpec,
  source: VmSource,
  claim: string | null,
  signal: AbortSignal,
): Promise<Answer> {
  const start = { type: 'CREATE', sandbox_id: sandboxId, incarnation, key, epoch, spec, source };
  const event = { ...start, purpose: 'sandbox', claim };
  // Noted before the actor is: two creates at once must see each other.
  context.incarnations.note(sandboxId, incarnation, 'starting', epoch);
  const { runtime } = context.journal;
  try {
    return await runtime.ask(
      { kind: 'vm', id: vmId },
      { ...event, budget_ms: budgetMs || DEFAULT_BUDGET_MS },
      { messageId: `create:${key}`, cause: { type: 'system', name: 'control plane' }, signal },
    );
  } finally {
    // A call that was cut before anything was committed must not stand in the way of the next one.
    if ((await context.journal.read(vmId)) === null) context.incarnations.forget(sandboxId, incarnation);
  }
}

/** A create whose start has ended: the same key gets the answer that it got, another one none (a grave stays one). */
async function burial(context: ServiceContext, command: CheckedCommand): Promise<WireReport | null> {
  const ref = { kind: 'vm', id: command.vmId };
  const [first] = await context.journal.runtime.journal(ref, { limit: 1 });
  if (first?.messageId !== `create:${command.key}`) return null;
  return respond(context, command, null);
}

async function respond(
  context: ServiceContext,
  { vmId, key, sandboxId, incarnation }: CheckedCommand,
  answer: Answer | null,
): Promise<WireReport> {
  const view = await context.journal.read(vmId);
  if (answer !== null && !answer.ok && view === null) throw failure(answer.error.code, answer.error.message);
  const fact: VmReport =
    answer?.ok === true
      ? (answer.value as unknown as VmReport)
      : { sandbox_id: sandboxId, incarnation, status: 'gone', ...(view && vmReport(view)), ...refusal(answer) };
  const origin = { storeId: context.journal.storeId, cursor: context.journal.cursor(), key };
  return toReport(fact, origin);
}

/** The failure that the answer names, which may be another than the last one of the VM. */
function refusal(answer: Answer | null): Partial<VmReport> {
  if (answer === null || answer.ok) return {};
  const { code, message, details } = answer.error;
  return { code, message, retryable: isRetryable(details) };
}

function isRetryable(details: Json | undefined): boolean {
  return typeof details === 'object' && details !== null && !Array.isArray(details) && details.retryable === true;
}

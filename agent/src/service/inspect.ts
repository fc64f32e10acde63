import { create } from '@bufbuild/protobuf';
import { type VmReport as VmFact, vmReport } from '@wrenn/actors';
import {
  type InspectSandboxRequest,
  type InspectSandboxResponse,
  InspectSandboxResponseSchema,
  type ListSandboxesResponse,
  ListSandboxesResponseSchema,
  type PingSandboxRequest,
  type PingSandboxResponse,
  PingSandboxResponseSchema,
  type VmReport,
} from '@wrenn/proto/hostagent/v1/hostagent_pb';
import { vmIdOf } from '../incarnations.ts';
import { checkSandboxId } from './command.ts';
import { requireReady, type ServiceContext } from './context.ts';
import { toReport } from './report.ts';

/**
 * What is true of a sandbox's latest incarnation that holds anything here, be it the files of a pause from which a later
 * start failed; else of the latest. One that was never here is `gone`, with incarnation 0.
 */
export async function inspectSandbox(
  context: ServiceContext,
  request: InspectSandboxRequest,
): Promise<InspectSandboxResponse> {
  const sandboxId = checkSandboxId(request.sandboxId);
  return create(InspectSandboxResponseSchema, { report: await reportOf(context, sandboxId) });
}

/** The same of each sandbox that is kept here. */
export async function listSandboxes(context: ServiceContext): Promise<ListSandboxesResponse> {
  const { storeId } = context.journal;
  const cursor = context.journal.cursor(); // read first: a fact may be newer than the cursor says, never older
  const reports = await Promise.all(context.incarnations.sandboxes().map((id) => reportOf(context, id)));
  return create(ListSandboxesResponseSchema, { storeId, cursor, reports });
}

/** SN8: counts as activity. */
export function pingSandbox(context: ServiceContext, request: PingSandboxRequest): PingSandboxResponse {
  const { sandboxId } = requireReady(context, checkSandboxId(request.sandboxId), 0);
  const idleMs = BigInt(Math.floor(context.activity.idleMs(sandboxId) ?? 0));
  context.activity.touch(sandboxId);
  return create(PingSandboxResponseSchema, { idleMs });
}

async function reportOf(context: ServiceContext, sandboxId: string): Promise<VmReport> {
  const { storeId } = context.journal;
  const cursor = context.journal.cursor();
  const { incarnations } = context;
  const incarnation = incarnations.held(sandboxId).at(-1) ?? incarnations.latest(sandboxId) ?? 0;
  const view = incarnation === 0 ? null : await context.journal.read(vmIdOf(sandboxId, incarnation));
  const gone: VmFact = { sandbox_id: sandboxId, incarnation, status: 'gone' };
  return toReport(view === null ? gone : vmReport(view), { storeId, cursor });
}

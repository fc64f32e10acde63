import { create } from '@bufbuild/protobuf';
import { processStat } from '@wrenn/addon';
import {
  type GetSandboxMetricsRequest,
  type GetSandboxMetricsResponse,
  GetSandboxMetricsResponseSchema,
} from '@wrenn/proto/hostagent/v1/hostagent_pb';
import { checkSandboxId } from './command.ts';
import { requireReady, type ServiceContext } from './context.ts';

/** What the guest uses by its own account, and its VMM by the host's. Not an activity. */
export async function getSandboxMetrics(
  context: ServiceContext,
  request: GetSandboxMetricsRequest,
  signal: AbortSignal,
): Promise<GetSandboxMetricsResponse> {
  const vm = requireReady(context, checkSandboxId(request.sandboxId), 0);
  const [guest, vmm] = await Promise.all([vm.guest.metrics(signal), processStat(vm.process.pid)]);
  return create(GetSandboxMetricsResponseSchema, {
    cpuUsedPct: guest.cpu_used_pct,
    memUsedBytes: BigInt(guest.mem_used),
    memTotalBytes: BigInt(guest.mem_total),
    diskUsedBytes: BigInt(guest.disk_used),
    diskTotalBytes: BigInt(guest.disk_total),
    vmmRssBytes: BigInt(vmm?.rssBytes ?? 0),
  });
}

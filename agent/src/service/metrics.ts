import { create, type MessageInitShape } from '@bufbuild/protobuf';
import { processStat } from '@wrenn/addon';
import {
  type GetSandboxMetricsRequest,
  type GetSandboxMetricsResponse,
  GetSandboxMetricsResponseSchema,
  type MetricsPoint,
  MetricsPointSchema,
  type WatchSandboxMetricsRequest,
} from '@wrenn/proto/hostagent/v1/hostagent_pb';
import { RANGES_SEC, type RangeSec } from '../metrics/series.ts';
import type { LiveUsage } from '../metrics/vm-metrics.ts';
import { checkSandboxId } from './command.ts';
import { requireReady, type ServiceContext } from './context.ts';
import { failure } from './failure.ts';

/**
 * What the guest uses by its own account, and its VMM by the host's; or, where a range is asked for, what is remembered of
 * it, whether it runs or is paused. Not an activity.
 */
export async function getSandboxMetrics(
  context: ServiceContext,
  { sandboxId, rangeSec }: GetSandboxMetricsRequest,
  signal: AbortSignal,
): Promise<GetSandboxMetricsResponse> {
  checkSandboxId(sandboxId);
  if (rangeSec !== 0) return pastMetrics(context, sandboxId, rangeSec);
  const vm = requireReady(context, sandboxId, 0);
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

async function pastMetrics(
  { metrics }: ServiceContext,
  sandboxId: string,
  rangeSec: number,
): Promise<GetSandboxMetricsResponse> {
  if (!isRange(rangeSec)) throw failure('bad_request', `range_sec is one of ${RANGES_SEC.join(', ')}`);
  const past = await metrics.past(sandboxId, rangeSec);
  if (past === null) throw failure('not_found', 'nothing is known of such a sandbox');
  const { stepMs, points, memTotalKib, diskTotalKib } = past;
  const now = Date.now();
  return create(GetSandboxMetricsResponseSchema, {
    stepMs,
    points: points.map(({ at, ...usage }) => toPoint({ ...usage, memTotalKib, diskTotalKib }, now - at)),
  });
}

/** Every sample, until the VM ends. */
export async function* watchSandboxMetrics(
  context: ServiceContext,
  { sandboxId }: WatchSandboxMetricsRequest,
  signal: AbortSignal,
): AsyncGenerator<MetricsPoint> {
  requireReady(context, checkSandboxId(sandboxId), 0);
  for await (const usage of context.metrics.watch(sandboxId, signal)) {
    yield create(MetricsPointSchema, toPoint(usage, 0));
  }
}

function toPoint(usage: LiveUsage, ageMs: number): MessageInitShape<typeof MetricsPointSchema> {
  const { cpuPct, rssKib, memKib, memTotalKib, diskKib, diskTotalKib } = usage;
  return {
    ageMs: BigInt(Math.max(0, Math.round(ageMs))),
    cpuUsedPct: Math.round(cpuPct * 100) / 100,
    vmmRssBytes: bytes(rssKib),
    ...(known(memKib) && { memUsedBytes: bytes(memKib) }),
    ...(known(memTotalKib) && { memTotalBytes: bytes(memTotalKib) }),
    ...(known(diskKib) && { diskUsedBytes: bytes(diskKib) }),
    ...(known(diskTotalKib) && { diskTotalBytes: bytes(diskTotalKib) }),
  };
}

const known = (kib: number): boolean => !Number.isNaN(kib);
const bytes = (kib: number): bigint => BigInt(Math.round(kib)) * 1024n;

function isRange(seconds: number): seconds is RangeSec {
  return (RANGES_SEC as readonly number[]).includes(seconds);
}

import type { MetricsPoint } from '@wrenn/proto/hostagent/v1/hostagent_pb';
import { z } from 'zod';

export const metricsPoint = z
  .object({
    at: z.iso.datetime(),
    cpu_used_pct: z.number().meta({ description: 'Share of its vCPUs, 0–100' }),
    vmm_rss_bytes: z.int().meta({ description: 'Memory of its VMM on the host' }),
    mem_used_bytes: z.int().nullable().meta({ description: 'By its own account; null until it has told' }),
    mem_total_bytes: z.int().nullable(),
    disk_used_bytes: z.int().nullable(),
    disk_total_bytes: z.int().nullable(),
  })
  .meta({ id: 'MetricsPoint' });

export const sandboxMetrics = z
  .object({
    range: z.enum(['10m', '2h', '24h']),
    step_ms: z.int(),
    vcpus: z.int(),
    points: z.array(metricsPoint),
  })
  .meta({ id: 'SandboxMetrics' });

export type MetricsRange = z.output<typeof sandboxMetrics>['range'];

const bytes = (value: bigint | undefined): number | null => (value === undefined ? null : Number(value));

/** `now`: when the agent's answer came, milliseconds since 1970. */
export function pointJson(point: MetricsPoint, now: number): z.output<typeof metricsPoint> {
  return {
    at: new Date(now - Number(point.ageMs)).toISOString(),
    cpu_used_pct: point.cpuUsedPct,
    vmm_rss_bytes: Number(point.vmmRssBytes),
    mem_used_bytes: bytes(point.memUsedBytes),
    mem_total_bytes: bytes(point.memTotalBytes),
    disk_used_bytes: bytes(point.diskUsedBytes),
    disk_total_bytes: bytes(point.diskTotalBytes),
  };
}

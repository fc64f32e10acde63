import { z } from 'zod';
import { type Routes, route } from '../http/route.ts';
import { pastMetrics } from '../metrics/past-metrics.ts';
import { noSuchSandbox } from '../sandboxes/sandbox-errors.ts';
import { findSandbox } from '../sandboxes/sandbox-store.ts';
import { mustFindE2b } from './create-e2b.ts';
import { e2bErrorReply } from './e2b-error.ts';
import { metricsQuery } from './fields.ts';

/** What E2B's clients expect between two points, seconds. */
const STEP_SEC = 5;
const MB = 1_048_576;

export const e2bMetricsRoutes: Routes = [
  route({
    method: 'GET',
    path: '/sandboxes/{id}/metrics',
    auth: ['K'],
    tag: 'E2B',
    errors: e2bErrorReply,
    summary: 'CPU, memory and disk over time',
    params: z.object({ id: z.string() }),
    query: metricsQuery,
    responses: { 200: { description: 'Oldest first', schema: z.unknown() } },
    handler: async ({ auth, params: { id }, query: { start, end }, signal }, services) => {
      await mustFindE2b(services, auth.teamId, id);
      const sandbox = await findSandbox(services, auth.teamId, id);
      if (!sandbox) throw noSuchSandbox();
      const now = Date.now() / 1_000;
      const age = now - (start ?? now - 600);
      const range = age <= 600 ? '10m' : age <= 7_200 ? '2h' : '24h';
      const { points, vcpus } = await pastMetrics(services, sandbox, range, signal);
      let last = 0;
      const shown = points.flatMap((point) => {
        const at = Math.floor(Date.parse(point.at) / 1_000);
        if ((start !== undefined && at < start) || (end !== undefined && at > end) || at < last + STEP_SEC) return [];
        last = at;
        return [
          {
            timestamp: point.at,
            timestampUnix: at,
            cpuCount: vcpus,
            cpuUsedPct: point.cpu_used_pct,
            memUsed: point.mem_used_bytes ?? point.vmm_rss_bytes,
            memTotal: point.mem_total_bytes ?? sandbox.memory_mb * MB,
            memCache: 0,
            diskUsed: point.disk_used_bytes ?? 0,
            diskTotal: point.disk_total_bytes ?? sandbox.disk_size_mb * MB,
          },
        ];
      });
      return { status: 200, body: shown };
    },
  }),
];

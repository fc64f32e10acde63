import { z } from 'zod';
import { type Routes, route, socketRoute } from '../http/route.ts';
import { noSuchSandbox } from '../sandboxes/sandbox-errors.ts';
import { sandboxId } from '../sandboxes/sandbox-id.ts';
import { findSandbox } from '../sandboxes/sandbox-store.ts';
import { pastMetrics } from './past-metrics.ts';
import { sandboxMetrics } from './sandbox-metrics.ts';
import { streamMetrics } from './stream-metrics.ts';

const tag = 'Metrics';
const params = z.strictObject({ id: sandboxId });

/** What a sandbox uses, and used (MET2). */
export const sandboxMetricsRoutes: Routes = [
  route({
    method: 'GET',
    path: '/v1/sandboxes/{id}/metrics',
    auth: ['K', 'J'],
    tag,
    summary: 'CPU, memory and disk of a sandbox over time',
    description:
      'Steps of 500 ms in `10m`, 30 s in `2h`, 5 min in `24h`: the mean of CPU, the maximum of the rest. Kept over pauses; ' +
      'a time in which it did not run has no points. Asking is no activity.',
    params,
    query: z.strictObject({ range: z.enum(['10m', '2h', '24h']).default('10m') }),
    responses: { 200: { description: 'Oldest first', schema: sandboxMetrics } },
    handler: async ({ auth, params: { id }, query: { range }, signal }, services) => {
      const sandbox = await findSandbox(services, auth.teamId, id);
      if (!sandbox) throw noSuchSandbox();
      return { status: 200, body: await pastMetrics(services, sandbox, range, signal) };
    },
  }),
  socketRoute({
    path: '/v1/sandboxes/{id}/metrics/stream',
    auth: ['K', 'J'],
    tag,
    summary: 'What a running sandbox uses, every 500 ms',
    description:
      'Frames `point {…}` as in the past, then `end {status}` when it runs no more. 409 where it does not run.',
    params,
    handler: ({ auth, params: { id } }, services) => streamMetrics(services, auth.teamId, id),
  }),
];

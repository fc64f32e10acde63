import type { z } from 'zod';
import { fromAgent } from '../agents/agent-error.ts';
import type { SandboxRow } from '../sandboxes/sandbox-object.ts';
import type { Services } from '../services.ts';
import { type MetricsRange, pointJson, type sandboxMetrics } from './sandbox-metrics.ts';

/** Seconds, and the step that an answer without points names. */
const RANGES: Readonly<Record<MetricsRange, { readonly seconds: number; readonly stepMs: number }>> = {
  '10m': { seconds: 600, stepMs: 500 },
  '2h': { seconds: 7_200, stepMs: 30_000 },
  '24h': { seconds: 86_400, stepMs: 300_000 },
};
/** It is kept in the host's memory. */
const TIMEOUT_MS = 5_000;

/** Where no host has it (not placed yet, destroyed) there are no points. */
export async function pastMetrics(
  { agents }: Services,
  { id, host_id, vcpus }: SandboxRow,
  range: MetricsRange,
  signal: AbortSignal,
): Promise<z.output<typeof sandboxMetrics>> {
  const { seconds, stepMs } = RANGES[range];
  const none = { range, step_ms: stepMs, vcpus, points: [] };
  if (host_id === null) return none;
  try {
    const agent = await agents.connect(host_id);
    const answer = await agent.rpc.getSandboxMetrics(
      { sandboxId: id, rangeSec: seconds },
      { signal, timeoutMs: TIMEOUT_MS },
    );
    const now = Date.now();
    return { ...none, step_ms: answer.stepMs || stepMs, points: answer.points.map((point) => pointJson(point, now)) };
  } catch (error) {
    const known = fromAgent(error);
    if (known.code === 'not_found') return none;
    throw known;
  }
}

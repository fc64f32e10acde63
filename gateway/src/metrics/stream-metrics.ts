import { watchGuest } from '../guest/guest.ts';
import type { Socket } from '../http/socket.ts';
import type { Services } from '../services.ts';
import { pointJson } from './sandbox-metrics.ts';

/** Throws 404 or 409 before the upgrade. A slow viewer slows the agent's stream down: nothing piles up. */
export async function streamMetrics(
  services: Services,
  teamId: string,
  sandboxId: string,
): Promise<(socket: Socket) => Promise<void>> {
  const { agent } = await watchGuest(services, teamId, sandboxId);
  return async (socket) => {
    try {
      for await (const point of agent.rpc.watchSandboxMetrics({ sandboxId }, { signal: socket.signal })) {
        await socket.sendJson({ type: 'point', ...pointJson(point, Date.now()) });
      }
    } catch (error) {
      if (socket.signal.aborted) return;
      services.log.debug({ err: error, sandbox_id: sandboxId }, 'a stream of metrics broke');
    }
    if (socket.signal.aborted) return;
    const route = await services.sandboxRoutes.reload(sandboxId);
    await socket.sendJson({ type: 'end', status: route?.status ?? 'stopped' });
  };
}

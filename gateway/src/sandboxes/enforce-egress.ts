import type { EgressPolicy } from '@wrenn/actors';
import { fromAgent } from '../agents/agent-error.ts';
import type { Services } from '../services.ts';

/** A rule is exchanged in milliseconds. */
const TIMEOUT_MS = 5_000;

/**
 * Puts a policy in force where the sandbox runs now (NET4); every later start brings it along, as the sandbox's actor has
 * it. Where the host does not answer this fails: the caller repeats it, which is harmless.
 */
export async function enforceEgress(services: Services, sandboxId: string, egress: EgressPolicy): Promise<void> {
  const route = await services.sandboxRoutes.reload(sandboxId);
  if (route?.status !== 'running' || route.hostId === null) return;
  try {
    const agent = await services.agents.connect(route.hostId);
    await agent.rpc.setEgress({ sandboxId, incarnation: route.incarnation, egress }, { timeoutMs: TIMEOUT_MS });
  } catch (error) {
    throw fromAgent(error);
  }
}

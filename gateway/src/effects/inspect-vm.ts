import type { VmTarget } from '@wrenn/actors';
import type { EffectHandler } from '@wrenn/core';
import { fromAgent } from '../agents/agent-error.ts';
import { inspected, vmFacts } from '../agents/vm-report.ts';
import type { EffectContext } from './context.ts';

/** An inspection reads the agent's memory: one that takes longer than this is not answered. */
const INSPECT_TIMEOUT_MS = 5_000;

/** `vm.inspect`: what is true on the host. A host that does not answer is asked again, then given up as lost. */
export function inspectVm({ agents }: EffectContext): EffectHandler {
  return async (job, signal) => {
    const target = job.input as VmTarget;
    const agent = await agents.connect(target.host_id);
    try {
      const { report } = await agent.rpc.inspectSandbox(
        { sandboxId: target.sandbox_id },
        { signal, timeoutMs: INSPECT_TIMEOUT_MS },
      );
      if (!report) throw new Error('the agent answered without a report');
      return inspected(vmFacts(report));
    } catch (error) {
      throw fromAgent(error);
    }
  };
}

import type { VmFailed, VmResumeInput } from '@wrenn/actors';
import type { EffectHandler } from '@wrenn/core';
import { fromAgent, refusal } from '../agents/agent-error.ts';
import { startResult, vmFacts } from '../agents/vm-report.ts';
import { command } from './command.ts';
import type { EffectContext } from './context.ts';
import { sandboxSpec } from './create-vm.ts';

/** What an earlier resume left is still being released. */
const NOT_YET = 'earlier_incarnation_live';

/**
 * `vm.resume`: answered by the agent when the guest runs on, or when the start has failed and nothing of it is left. A
 * host that did not answer is asked again with the same key until the deadline of `restoring`.
 */
export function resumeVm({ agents }: EffectContext): EffectHandler {
  return async (job, signal) => {
    const { spec, budget_ms, from_incarnation, ...target } = job.input as VmResumeInput;
    const agent = await agents.connect(target.host_id);
    try {
      const { report } = await agent.rpc.resumeSandbox(
        {
          command: command(job, target, budget_ms),
          spec: sandboxSpec(spec),
          fromIncarnation: from_incarnation,
        },
        { signal },
      );
      if (!report) throw new Error('the agent answered without a report');
      return startResult(vmFacts(report));
    } catch (error) {
      const no = refusal(error);
      if (!no || no.code === NOT_YET) throw fromAgent(error);
      const failed: VmFailed = {
        type: 'VM_FAILED',
        incarnation: target.incarnation,
        code: no.code,
        message: no.message,
        retryable: no.retryable,
      };
      return failed;
    }
  };
}

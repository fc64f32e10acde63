import type { VmCreateInput, VmFailed, VmSpec } from '@wrenn/actors';
import type { EffectHandler } from '@wrenn/core';
import { fromAgent, refusal } from '../agents/agent-error.ts';
import { startResult, vmFacts } from '../agents/vm-report.ts';
import { command } from './command.ts';
import type { EffectContext } from './context.ts';

/**
 * `vm.create`: answered by the agent when the guest is ready or the start has failed. A host that did not answer is
 * asked again with the same key (the agent starts nothing twice) until the deadline of `starting`.
 */
export function createVm({ agents }: EffectContext): EffectHandler {
  return async (job, signal) => {
    const { spec, budget_ms, snapshot_id, ...target } = job.input as VmCreateInput;
    const agent = await agents.connect(target.host_id);
    try {
      const { report } = await agent.rpc.createSandbox(
        {
          command: command(job, target, budget_ms),
          spec: sandboxSpec(spec),
          snapshotId: snapshot_id ?? '',
        },
        { signal },
      );
      if (!report) throw new Error('the agent answered without a report');
      return startResult(vmFacts(report));
    } catch (error) {
      const no = refusal(error);
      if (!no) throw fromAgent(error);
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

/** The spec as the protocol has it. */
export function sandboxSpec(spec: VmSpec) {
  return {
    template: spec.template,
    vcpus: spec.vcpus,
    memoryMb: spec.memory_mb,
    diskSizeMb: spec.disk_size_mb,
    envs: spec.envs,
    accessToken: spec.access_token,
    defaultUser: spec.default_user,
    hostname: spec.hostname,
    teamId: spec.team_id,
    ...(spec.egress && { egress: spec.egress }),
  };
}

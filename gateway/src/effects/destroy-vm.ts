import type { Released, VmIdleCheckInput, VmTarget } from '@wrenn/actors';
import { type EffectHandler, type EffectJob, WrennError } from '@wrenn/core';
import type { VmReport } from '@wrenn/proto/hostagent/v1/hostagent_pb';
import { fromAgent, refusal } from '../agents/agent-error.ts';
import { vmFacts } from '../agents/vm-report.ts';
import { activeResult } from './active.ts';
import { command } from './command.ts';
import type { EffectContext } from './context.ts';

/** Releasing a VM takes about a second; the agent goes on with it when nobody waits any more. */
const DESTROY_BUDGET_MS = 60_000;

/** `vm.destroy`: done when the agent holds nothing of the incarnation; one that it does not know counts as done. */
export function destroyVm({ agents }: EffectContext): EffectHandler {
  return async (job, signal) => {
    const target = job.input as VmTarget;
    const agent = await agents.connect(target.host_id);
    try {
      const { report } = await agent.rpc.destroySandbox(
        { command: command(job, target, DESTROY_BUDGET_MS) },
        { signal },
      );
      return released(job, target, report);
    } catch (error) {
      if (refusal(error)?.code === 'not_found') return released(job, target, undefined);
      throw fromAgent(error);
    }
  };
}

/** `vm.idle_check`: destroys it if it has been idle for so long; the agent, which counts activity, decides (SN7). */
export function checkIdle({ agents }: EffectContext): EffectHandler {
  return async (job, signal) => {
    const { idle_ms, ...target } = job.input as VmIdleCheckInput;
    const agent = await agents.connect(target.host_id);
    try {
      const { report } = await agent.rpc.destroySandbox(
        { command: command(job, target, DESTROY_BUDGET_MS), ifIdleMs: BigInt(idle_ms) },
        { signal },
      );
      return released(job, target, report);
    } catch (error) {
      const no = refusal(error);
      if (no?.code === 'not_found') return released(job, target, undefined);
      if (no?.code !== 'active') throw fromAgent(error);
      return activeResult(no, target.incarnation);
    }
  };
}

function released(job: EffectJob, target: VmTarget, report: VmReport | undefined): Released {
  if (!report) return { type: 'RELEASED', incarnation: target.incarnation };
  const { status, store_id, cursor } = vmFacts(report);
  if (status !== 'gone') {
    throw new WrennError('unavailable', `The host is still releasing it (${job.name}).`, { details: { status } });
  }
  return {
    type: 'RELEASED',
    incarnation: target.incarnation,
    ...(store_id !== undefined && { store_id }),
    ...(cursor !== undefined && { cursor }),
  };
}

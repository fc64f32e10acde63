import type { PauseFailed, VmFacts, VmPaused, VmPauseInput } from '@wrenn/actors';
import { type EffectHandler, WrennError } from '@wrenn/core';
import { fromAgent, refusal } from '../agents/agent-error.ts';
import { vmFacts } from '../agents/vm-report.ts';
import { activeResult } from './active.ts';
import { command } from './command.ts';
import type { EffectContext } from './context.ts';

/**
 * Refusals by which the VM runs on. With any other the agent does not know it, or it has ended meanwhile: its next report
 * or an inspection tells.
 */
const RUNS_ON: ReadonlySet<string> = new Set(['pause_failed', 'not_implemented']);

/**
 * `vm.pause`: answered by the agent when nothing but files is left, or when it has failed and the VM runs on. A host that
 * did not answer is asked again with the same key until the deadline of `pausing`.
 */
export function pauseVm({ agents }: EffectContext): EffectHandler {
  return async (job, signal) => {
    const { if_idle_ms, budget_ms, ...target } = job.input as VmPauseInput;
    const agent = await agents.connect(target.host_id);
    try {
      const { report } = await agent.rpc.pauseSandbox(
        {
          command: command(job, target, budget_ms),
          ...(if_idle_ms !== null && { ifIdleMs: BigInt(if_idle_ms) }),
        },
        { signal },
      );
      if (!report) throw new Error('the agent answered without a report');
      return pausedResult(vmFacts(report));
    } catch (error) {
      const no = refusal(error);
      if (no?.code === 'active') return activeResult(no, target.incarnation);
      if (!no || !RUNS_ON.has(no.code)) throw fromAgent(error);
      const failed: PauseFailed = {
        type: 'PAUSE_FAILED',
        incarnation: target.incarnation,
        code: no.code,
        message: no.message,
      };
      return failed;
    }
  };
}

function pausedResult({ status, store_id, cursor, incarnation, snapshot, timings_ms = {} }: VmFacts): VmPaused {
  if (status !== 'paused') {
    throw new WrennError('unavailable', 'The host is still pausing it.', { details: { status } });
  }
  return {
    type: 'VM_PAUSED',
    incarnation,
    snapshot: snapshot ?? null,
    timings_ms,
    ...(store_id !== undefined && { store_id }),
    ...(cursor !== undefined && { cursor }),
  };
}

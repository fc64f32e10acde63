import type { Branched, BranchFailed, SnapshotDeleteInput, SnapshotGone, VmBranchInput } from '@wrenn/actors';
import { type EffectHandler, queryOne } from '@wrenn/core';
import { z } from 'zod';
import { fromAgent, refusal } from '../agents/agent-error.ts';
import { snapshotInfo } from '../agents/vm-report.ts';
import { command } from './command.ts';
import type { EffectContext } from './context.ts';

/** Unlinking files takes moments; the agent answers when it is done. */
const DELETE_TIMEOUT_MS = 30_000;

/**
 * `vm.snapshot` and `vm.fork`, of a running sandbox or a paused one: answered when the files are whole. The same id again
 * answers with the same snapshot, so that a host that did not answer is asked again.
 */
export function branchVm({ agents }: EffectContext): EffectHandler {
  return async (job, signal) => {
    const { snapshot_id, children, budget_ms, ...target } = job.input as VmBranchInput;
    const agent = await agents.connect(target.host_id);
    try {
      const request = { command: command(job, target, budget_ms), snapshotId: snapshot_id };
      const { snapshot } =
        children > 0
          ? await agent.rpc.forkSandbox({ ...request, children }, { signal })
          : await agent.rpc.createSnapshot(request, { signal });
      if (!snapshot) throw new Error('the agent answered without a snapshot');
      const branched: Branched = {
        type: 'BRANCHED',
        incarnation: target.incarnation,
        snapshot: snapshotInfo(snapshot),
      };
      return branched;
    } catch (error) {
      const no = refusal(error);
      if (!no) throw fromAgent(error);
      const failed: BranchFailed = {
        type: 'BRANCH_FAILED',
        incarnation: target.incarnation,
        code: no.code,
        message: no.message,
      };
      return failed;
    }
  };
}

/** `snapshot.delete`: one that is not there counts as deleted, and so does one whose host is no longer of the fleet. */
export function deleteSnapshot({ agents, sql }: EffectContext): EffectHandler {
  return async (job, signal) => {
    const { snapshot_id, host_id } = job.input as SnapshotDeleteInput;
    const gone: SnapshotGone = { type: 'SNAPSHOT_GONE' };
    const host = await queryOne(sql, z.object({ status: z.string() }), 'select status from hosts where id = $1', [
      host_id,
    ]);
    if (!host || host.status === 'deleted') return gone;
    const agent = await agents.connect(host_id);
    try {
      await agent.rpc.deleteSnapshot(
        { snapshotId: snapshot_id, epoch: BigInt(job.epoch) },
        { signal, timeoutMs: DELETE_TIMEOUT_MS },
      );
    } catch (error) {
      if (refusal(error)?.code !== 'not_found') throw fromAgent(error);
    }
    return gone;
  };
}

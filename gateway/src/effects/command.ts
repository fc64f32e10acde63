import type { VmTarget } from '@wrenn/actors';
import type { EffectJob } from '@wrenn/core';

/** What every command to an agent carries (AG1): for whom, deduplication, fencing, and the time that is left. */
export function command(job: Pick<EffectJob, 'key' | 'epoch'>, target: VmTarget, budgetMs: number) {
  return {
    sandboxId: target.sandbox_id,
    incarnation: target.incarnation,
    key: job.key,
    epoch: BigInt(job.epoch),
    budgetMs,
  };
}

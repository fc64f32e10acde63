import type { FreezeInput, VmContinued, VmPublished } from '@wrenn/actors';
import { forgetSaved } from '../snapshots/saved.ts';
import type { EffectContext } from './context.ts';
import { continueGuest } from './continue.ts';
import { publishedPause } from './publish.ts';

/**
 * `vm.continue`: a pause or branch has failed, and the guest runs on. But a pause whose manifest is there is done: its
 * deadline has come while that was written, or while no agent ran.
 */
export async function rollBack(
  context: EffectContext,
  vmId: string,
  input: FreezeInput,
  signal: AbortSignal,
): Promise<VmContinued | VmPublished> {
  const published = await publishedPause(context, vmId);
  if (published !== null) return published;
  await forgetSaved(context.files.sandbox(vmId).saving);
  return continueGuest(context, vmId, input, signal);
}

import { rename } from 'node:fs/promises';
import type { ClaimInput, ClaimLost, VmClaimed, VmContext } from '@wrenn/actors';
import type { Answer, Runtime } from '@wrenn/core';
import type { EffectContext } from './context.ts';

/** `vm.claim`: everything that the warm VM holds is this VM's from now on. */
export async function claim(
  context: EffectContext,
  vmId: string,
  { claim: warmId, egress }: ClaimInput,
): Promise<VmClaimed | ClaimLost> {
  const warm = await takeOver(context, vmId, warmId);
  if (warm === null) return { type: 'CLAIM_LOST' };
  const { origin, slot, disk, vmm } = warm;
  if (origin === null || slot === null || disk === null || vmm === null) return { type: 'CLAIM_LOST' };
  if (egress !== null) await context.slots.restrict(vmId, egress); // it stands still until it is continued
  return { type: 'CLAIMED', origin, slot, disk, vmm };
}

/**
 * The warm VM's actor hands over, in a commit of its own (asked again it gives the first answer), and its folder and its
 * slot get this VM's name. Null: it had ended before.
 */
export async function takeOver(context: EffectContext, vmId: string, warmId: string): Promise<VmContext | null> {
  const answer = await askForClaim(context.runtime(), vmId, warmId);
  if (!answer.ok) return null;
  const warm = (answer.value as unknown as { context: VmContext }).context;
  context.vms.remove(warmId);
  context.slots.rename(warmId, vmId);
  await rename(context.files.sandbox(warmId).folder, context.files.sandbox(vmId).folder).catch((error) => {
    if (error.code !== 'ENOENT') throw error; // it has the name already
  });
  return warm;
}

/** Asked again it gets the first answer. */
export function askForClaim(runtime: Runtime, vmId: string, warmId: string): Promise<Answer> {
  return runtime.ask(
    { kind: 'vm', id: warmId },
    { type: 'CLAIM', by: vmId },
    { messageId: `claim:${warmId}:${vmId}`, cause: { type: 'system', name: 'claim' } },
  );
}

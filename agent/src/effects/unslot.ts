import type { Undone, UnslotInput } from '@wrenn/actors';
import { removeCgroup } from '../vmm/cgroup.ts';
import type { EffectContext } from './context.ts';

/** `vm.unslot`: the undo of `vm.slot`, and of the control group, which bears the slot's number. */
export async function unslot(context: EffectContext, vmId: string, input: UnslotInput): Promise<Undone> {
  const index = input.slot?.index ?? context.slots.takenBy(vmId);
  if (index !== undefined) {
    await removeCgroup(index);
    await context.slots.release(index);
  }
  context.log.info({ vm: vmId }, 'a VM is released');
  return { type: 'UNDONE', step: 'unslot' };
}

import type { Undone, UnslotInput } from '@wrenn/actors';
import { removeCgroup } from '../vmm/cgroup.ts';
import type { EffectContext } from './context.ts';

/** `vm.unslot`: the undo of `vm.slot`, and of the control group, which bears the slot's number. */
export async function unslot(context: EffectContext, vmId: string, _: UnslotInput): Promise<Undone> {
  const index = context.slots.takenBy(vmId); // not as it was noted: tried again, the slot may be another VM's
  if (index !== undefined) {
    await removeCgroup(index);
    await context.slots.release(vmId);
  }
  context.log.info({ vm: vmId }, 'a VM is released');
  return { type: 'UNDONE', step: 'unslot' };
}

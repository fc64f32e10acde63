import type { SlotInput, VmSlotReady } from '@wrenn/actors';
import type { EffectContext } from './context.ts';

/** `vm.slot`: a network slot for this VM (NET1–NET3, NET5). */
export async function takeSlot(
  context: EffectContext,
  vmId: string,
  { egress }: SlotInput,
  signal: AbortSignal,
): Promise<VmSlotReady> {
  const slot = await context.times.measure(vmId, 'slot', () => context.slots.takeFor(vmId, signal));
  if (egress !== null) await context.slots.restrict(vmId, egress);
  return {
    type: 'SLOT_READY',
    index: slot.index,
    host_ip: slot.hostIp,
    guest_ip: slot.guestIp,
    namespace: slot.namespace,
  };
}

import type { KillInput, Undone } from '@wrenn/actors';
import type { EffectContext } from './context.ts';

/** `vm.kill`: ends the VMM, after the byte path to it. */
export async function kill(context: EffectContext, vmId: string, input: KillInput): Promise<Undone> {
  context.vms.remove(vmId);
  const vmm = input.vmm
    ? { pid: input.vmm.pid, startTime: input.vmm.start_time }
    : (await context.vmm.running()).get(vmId);
  if (vmm !== undefined) await context.vmm.destroy(vmm);
  return { type: 'UNDONE', step: 'kill' };
}

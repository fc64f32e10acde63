import type { Slot, VmmProcess, VmSpec } from '@wrenn/actors';
import type { LiveVm } from '../live-vms.ts';
import type { EffectContext } from './context.ts';

/** What an effect's input says of a VM whose VMM runs. */
export interface RunningVm {
  readonly sandbox_id: string;
  readonly incarnation: number;
  readonly spec: VmSpec;
  readonly slot: Slot;
  readonly vmm: VmmProcess;
}

/** The VM as it can be spoken to; made known here where it is not yet. */
export function liveVm(context: EffectContext, vmId: string, input: RunningVm): LiveVm {
  return context.vms.add({
    vmId,
    sandboxId: input.sandbox_id,
    incarnation: input.incarnation,
    hostIp: input.slot.host_ip,
    accessToken: input.spec.access_token,
    process: { pid: input.vmm.pid, startTime: input.vmm.start_time },
  });
}

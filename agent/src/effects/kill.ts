import type { KillInput, Undone } from '@wrenn/actors';
import { takeOver } from './claim.ts';
import type { EffectContext } from './context.ts';

/** `vm.kill`: ends the VMM, after the byte path to it; then the kernel's part of its disk (FS2). */
export async function kill(context: EffectContext, vmId: string, input: KillInput): Promise<Undone> {
  context.vms.remove(vmId);
  // What it was to take over is its to undo, also if it never came to it.
  const { claim } = input;
  if (claim !== null && input.vmm === null) await takeOver(context, vmId, claim);
  const running = input.vmm ? null : await context.vmm.running();
  const vmm = input.vmm
    ? { pid: input.vmm.pid, startTime: input.vmm.start_time }
    : (running?.get(vmId) ?? (claim === null ? undefined : running?.get(claim)));
  await context.snapshots.firstTouches.end(vmId);
  if (vmm !== undefined) await context.vmm.destroy(vmm);
  await context.rootfs.release(context.files.sandbox(vmId));
  return { type: 'UNDONE', step: 'kill' };
}

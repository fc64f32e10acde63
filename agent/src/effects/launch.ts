import { access } from 'node:fs/promises';
import type { LaunchInput, VmmStarted } from '@wrenn/actors';
import type { SandboxFiles } from '../files.ts';
import type { EffectContext } from './context.ts';

/** `vm.launch`: the VMM with the guest's kernel (VM2, VM4). */
export async function launch(
  context: EffectContext,
  vmId: string,
  { spec, slot }: LaunchInput,
  signal: AbortSignal,
): Promise<VmmStarted> {
  const files = context.files.sandbox(vmId);
  // An earlier attempt may have started it and died before that was committed.
  const earlier = (await hasRun(files)) ? (await context.vmm.running()).get(vmId) : undefined;
  const machine = {
    vmId,
    files,
    vcpus: spec.vcpus,
    memoryMb: spec.memory_mb,
    hostname: spec.hostname,
    slot: slot.index,
  };
  const vmm = earlier ?? (await context.times.measure(vmId, 'launch', () => context.vmm.boot(machine, signal)));
  return { type: 'VMM_STARTED', pid: vmm.pid, start_time: vmm.startTime };
}

async function hasRun(files: SandboxFiles): Promise<boolean> {
  return access(files.run).then(
    () => true,
    () => false,
  );
}

import { access } from 'node:fs/promises';
import type { LaunchInput, VmmStarted } from '@wrenn/actors';
import type { SandboxFiles } from '../files.ts';
import { readLineage } from '../snapshots/manifest.ts';
import type { MachineSpec } from '../vmm/vmm.ts';
import type { EffectContext } from './context.ts';

/** `vm.launch`: the VMM, with the guest's kernel or waiting to be restored (VM2, VM4). */
export async function launch(
  context: EffectContext,
  vmId: string,
  { spec, slot, origin, purpose }: LaunchInput,
  signal: AbortSignal,
): Promise<VmmStarted> {
  const files = context.files.sandbox(vmId);
  // An earlier attempt may have started it and died before that was committed.
  const earlier = (await hasRun(files)) ? (await context.vmm.running()).get(vmId) : undefined;
  const lineage = await readLineage(files.lineage);
  const machine: MachineSpec = {
    vmId,
    files,
    vcpus: spec.vcpus,
    memoryMb: spec.memory_mb,
    hostname: spec.hostname,
    start: origin !== null ? 'frozen' : purpose === 'boot' ? 'template' : 'kernel',
    drive: context.rootfs.drive(lineage.layers),
    vmmDigest: origin === null ? null : (lineage.needs.vmm_digest ?? null),
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

import { rm } from 'node:fs/promises';
import type { FreezeInput, VmContinued } from '@wrenn/actors';
import { AgentError } from '../errors.ts';
import type { SandboxFiles } from '../files.ts';
import type { LiveVm } from '../live-vms.ts';
import { readLineage, writeWhole } from '../snapshots/manifest.ts';
import type { EffectContext } from './context.ts';
import { liveVm } from './live-vm.ts';
import { readNotes, type SavingNotes } from './quiesce.ts';
import { watchVmm } from './watch-vmm.ts';

/** A VMM that is at all there answers within this. */
const VMM_PATIENCE_MS = 5_000;
const THAW_PATIENCE_MS = 5_000;

/**
 * `vm.continue`: after a pause or branch that failed anywhere, the VM runs, its guest is thawed, its disk is known, and
 * what was saved is gone. Fails with `guest_lost`.
 */
export async function continueGuest(
  context: EffectContext,
  vmId: string,
  input: FreezeInput,
  signal: AbortSignal,
): Promise<VmContinued> {
  const files = context.files.sandbox(vmId);
  const vm = liveVm(context, vmId, input);
  watchVmm(context, vmId, vm.process);
  const notes = await readNotes(files.saving);
  try {
    const patience = AbortSignal.any([signal, AbortSignal.timeout(VMM_PATIENCE_MS)]);
    await settleDisk(context, files, patience);
    const isThawed = notes === null || (await thaw(vm, notes, signal));
    if (isThawed) await rm(files.saving.folder, { recursive: true, force: true });
  } catch (cause) {
    signal.throwIfAborted();
    throw new AgentError('guest_lost', 'its guest could not be made to run on', { cause, retryable: false });
  }
  context.vms.open(vm);
  return { type: 'CONTINUED' };
}

/** The VMM runs. The branch may have ended before or after the guest's disk went on in the new layer, and that was noted. */
async function settleDisk({ vmm, rootfs }: EffectContext, files: SandboxFiles, signal: AbortSignal): Promise<void> {
  const lineage = await readLineage(files.lineage);
  const layers = await vmm.recover(files, lineage.layers, signal);
  if (layers.length !== lineage.layers.length) await writeWhole(files.lineage, { ...lineage, layers: [...layers] });
  await rootfs.settle(files, layers);
}

/**
 * One that is known to be frozen must thaw. One that never answered runs on as it is, and keeps its key for the next freeze:
 * it may come upon the request later.
 */
async function thaw(vm: LiveVm, { thaw_key, frozen }: SavingNotes, signal: AbortSignal): Promise<boolean> {
  try {
    await vm.guest.thaw(thaw_key, null, AbortSignal.any([signal, AbortSignal.timeout(THAW_PATIENCE_MS)]));
    return true;
  } catch (error) {
    if (frozen) throw error;
    return false;
  }
}

import type { FreezeInput, VmSaved } from '@wrenn/actors';
import { allEnded } from '../all-ended.ts';
import { AgentError } from '../errors.ts';
import { chainOf, nextGeneration, takeDevices } from '../snapshots/frozen.ts';
import { readLineage } from '../snapshots/manifest.ts';
import { writeSaved } from '../snapshots/saved.ts';
import type { EffectContext } from './context.ts';
import { readNotes } from './quiesce.ts';

/**
 * `vm.save`: the VM is stopped; its devices and the memory that changed go into `saving/`. The boot of a template has all
 * its memory in the file that becomes the base.
 */
export async function save(
  context: EffectContext,
  vmId: string,
  input: FreezeInput,
  signal: AbortSignal,
): Promise<VmSaved> {
  const { times } = context;
  const files = context.files.sandbox(vmId);
  const lineage = await readLineage(files.lineage);
  const notes = await readNotes(files.saving);
  if (notes === null) throw new AgentError('internal', 'a VM is saved that was not frozen');
  const process = { pid: input.vmm.pid, startTime: input.vmm.start_time };
  const isBoot = input.purpose === 'boot';
  await times.measure(vmId, 'flush', () => context.rootfs.flush(files, lineage.layers));
  const freezer = await times.measure(vmId, 'prepare', () =>
    context.vmm.freezer({ process, files }, isBoot ? 'boot' : 'pause', null, signal),
  );
  let freezeMs: number;
  const generation = nextGeneration(lineage.generations);
  let devices: string;
  try {
    ({ freezeMs } = await freezer.freeze(async () => {}));
    const { folder } = files.saving;
    const publish = () => freezer.publish(chainOf(files, lineage), folder, generation);
    [devices] = await allEnded([
      times.measure(vmId, 'devices', () => takeDevices(files, files.saving.devices)),
      isBoot || times.measure(vmId, 'memory', publish),
    ]);
  } finally {
    freezer.close();
  }
  const saved = { thaw_key: notes.thaw_key, devices_sha256: devices, freeze_ms: freezeMs };
  await writeSaved(files.saving, { ...saved, generations: [...lineage.generations, ...(isBoot ? [] : [generation])] });
  return { type: 'SAVED', timings_ms: { ...times.take(vmId), freeze: Math.round(freezeMs * 10) / 10 } };
}

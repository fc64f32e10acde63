import { performance } from 'node:perf_hooks';
import type { FreezeInput, VmSaved } from '@wrenn/actors';
import type { MemoryCapture } from '@wrenn/addon';
import { AgentError } from '../errors.ts';
import { chainOf, nextGeneration, takeDevices } from '../snapshots/frozen.ts';
import { readLineage } from '../snapshots/manifest.ts';
import { prepareCapture, publishMemory } from '../snapshots/memory.ts';
import { writeSaved } from '../snapshots/saved.ts';
import { VmmSession } from '../vmm/session.ts';
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
  const prepared = isBoot ? null : await prepareCapture(process, files.memory);

  let stopped = 0;
  let freezeMs = 0;
  let capture: MemoryCapture | undefined;
  const generation = nextGeneration(lineage.generations);
  let devices: string;
  try {
    await VmmSession.with(files, signal, async (session) => {
      stopped = performance.now();
      await session.stop();
      await session.saveDevices({ live: false });
      capture = await prepared?.capture();
      freezeMs = performance.now() - stopped;
    });
    devices = await takeDevices(files, files.saving.devices);
    const taken = capture;
    const { folder } = files.saving;
    if (taken)
      await times.measure(vmId, 'memory', () => publishMemory(taken, chainOf(files, lineage), folder, generation));
  } finally {
    capture?.close();
    prepared?.close();
  }
  const saved = { thaw_key: notes.thaw_key, devices_sha256: devices, freeze_ms: freezeMs };
  await writeSaved(files.saving, { ...saved, generations: [...lineage.generations, ...(isBoot ? [] : [generation])] });
  return { type: 'SAVED', timings_ms: { ...times.take(vmId), freeze: Math.round(freezeMs * 10) / 10 } };
}

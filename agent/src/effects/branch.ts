import { performance } from 'node:perf_hooks';
import type { BranchInput, VmBranched } from '@wrenn/actors';
import { AgentError } from '../errors.ts';
import { MEMORY } from '../files.ts';
import { userOf } from '../slots/names.ts';
import { chainOf, nextGeneration, takeDevices } from '../snapshots/frozen.ts';
import { readLineage, writeWhole } from '../snapshots/manifest.ts';
import { prepareCapture, publishFlat, publishMemory } from '../snapshots/memory.ts';
import { writeSaved } from '../snapshots/saved.ts';
import { VmmSession } from '../vmm/session.ts';
import type { EffectContext } from './context.ts';
import { liveVm } from './live-vm.ts';
import { freezeGuest } from './quiesce.ts';

/** With more changed memory than this every child would write it anew: they get one flat base (design.md §5). */
const FLAT_BASE_BYTES = 32 << 20;

/**
 * `vm.branch`: the guest stands still for as long as it takes to copy what it changed, then runs on. Its disk goes on in a
 * new layer from that moment. What was frozen is in `saving/` then. A failure leaves it to `vm.continue` to set things
 * right.
 */
export async function branch(
  context: EffectContext,
  vmId: string,
  input: BranchInput,
  signal: AbortSignal,
): Promise<VmBranched> {
  const { times, rootfs } = context;
  const files = context.files.sandbox(vmId);
  const vm = liveVm(context, vmId, input);
  const lineage = await readLineage(files.lineage);
  const { layers } = await rootfs.extend(files, lineage.layers, {
    owner: userOf(input.slot.index),
    sizeMb: lineage.disk_size_mb,
  });
  const prepared = await prepareCapture(vm.process, files.memory);
  await rootfs.flush(files, lineage.layers);

  const began = performance.now();
  const thawKey = await freezeGuest(vm, files.saving, signal);
  await rootfs.flush(files, lineage.layers);
  const stopped = performance.now();
  const capture = await VmmSession.with(files, signal, async (session) => {
    await session.stop();
    await session.saveDevices({ live: true });
    const captured = await prepared.capture();
    await session.addLayer(layers.length - 1);
    await session.continue();
    return captured;
  });
  const freezeMs = performance.now() - stopped;
  await vm.guest.thaw(thawKey, null, signal).catch((cause) => {
    throw new AgentError('guest_unresponsive', 'the guest was frozen and does not thaw', { cause });
  });
  const standstillMs = performance.now() - began;

  await writeWhole(files.lineage, { ...lineage, layers });
  const devices = await takeDevices(files, files.saving.devices);
  const flat = input.children > 0 && capture.dirtyBytes > FLAT_BASE_BYTES;
  const generation = nextGeneration(lineage.generations);
  const chain = chainOf(files, lineage);
  await times
    .measure(vmId, 'memory', () =>
      flat
        ? publishFlat(capture, chain, files.saving.folder, MEMORY)
        : publishMemory(capture, chain, files.saving.folder, generation),
    )
    .finally(() => capture.close());
  await writeSaved(files.saving, {
    thaw_key: thawKey,
    devices_sha256: devices,
    freeze_ms: freezeMs,
    generations: flat ? [] : [...lineage.generations, generation],
    layers: lineage.layers,
    flat,
  });
  const round = (milliseconds: number) => Math.round(milliseconds * 10) / 10;
  return {
    type: 'BRANCHED',
    timings_ms: { ...times.take(vmId), freeze: round(freezeMs), standstill: round(standstillMs) },
  };
}

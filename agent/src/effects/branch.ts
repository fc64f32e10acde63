import { performance } from 'node:perf_hooks';
import type { BranchInput, VmBranched } from '@wrenn/actors';
import type { MemoryCapture } from '@wrenn/addon';
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

/** Milliseconds: the vCPUs stood still; the guest's processes stood still, at most. */
interface Frozen {
  readonly thawKey: string;
  readonly freezeMs: number;
  readonly standstillMs: number;
}

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
  const generation = nextGeneration(lineage.generations);
  const chain = chainOf(files, lineage);
  const { folder } = files.saving;
  await rootfs.flush(files, lineage.layers);
  const prepared = await prepareCapture(vm.process, files.memory);
  let capture: MemoryCapture | undefined;
  let frozen: Frozen;
  let devices: string;
  let flat: boolean;
  try {
    const began = performance.now();
    const thawKey = await freezeGuest(vm, files.saving, signal);
    await rootfs.flush(files, lineage.layers);
    let freezeMs = 0;
    const captured = await VmmSession.with(files, signal, async (session) => {
      const stopped = performance.now();
      await session.stop();
      await session.saveDevices({ live: true });
      capture = await prepared.capture();
      await session.addLayer(layers.length - 1);
      await session.continue();
      freezeMs = performance.now() - stopped;
      return capture;
    });
    await vm.guest.thaw(thawKey, null, signal).catch((cause) => {
      throw new AgentError('guest_unresponsive', 'the guest was frozen and does not thaw', { cause });
    });
    frozen = { thawKey, freezeMs, standstillMs: performance.now() - began };
    await writeWhole(files.lineage, { ...lineage, layers });
    devices = await takeDevices(files, files.saving.devices);
    flat = input.children > 0 && captured.dirtyBytes > FLAT_BASE_BYTES;
    await times.measure(vmId, 'memory', () =>
      flat ? publishFlat(captured, chain, folder, MEMORY) : publishMemory(captured, chain, folder, generation),
    );
  } finally {
    capture?.close();
    prepared.close();
  }
  await writeSaved(files.saving, {
    thaw_key: frozen.thawKey,
    devices_sha256: devices,
    freeze_ms: frozen.freezeMs,
    generations: flat ? [] : [...lineage.generations, generation],
    layers: lineage.layers,
    flat,
  });
  const round = (milliseconds: number) => Math.round(milliseconds * 10) / 10;
  const timings = { freeze: round(frozen.freezeMs), standstill: round(frozen.standstillMs) };
  return { type: 'BRANCHED', timings_ms: { ...times.take(vmId), ...timings } };
}

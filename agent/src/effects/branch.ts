import { link, rm } from 'node:fs/promises';
import { performance } from 'node:perf_hooks';
import type { BranchInput, VmBranched } from '@wrenn/actors';
import { allEnded } from '../all-ended.ts';
import { AgentError } from '../errors.ts';
import { MEMORY } from '../files.ts';
import type { LiveVm } from '../live-vms.ts';
import { userOf } from '../slots/names.ts';
import { chainOf, nextGeneration, takeDevices } from '../snapshots/frozen.ts';
import { readLineage, writeWhole } from '../snapshots/manifest.ts';
import { GENERATIONS_BEFORE_MERGE } from '../snapshots/memory.ts';
import { writeSaved } from '../snapshots/saved.ts';
import type { EffectContext } from './context.ts';
import { liveVm } from './live-vm.ts';
import { freezeGuest, noteFreeze, noteFrozen, noteThawed } from './quiesce.ts';

/** With more changed memory than this every child would write it anew: they get one flat base (design.md §5). */
const FLAT_BASE_BYTES = 32 << 20;

interface Frozen {
  /** Milliseconds that the vCPUs stood still. */
  readonly freezeMs: number;
  /** From the guest's answer that its processes stand to the one that they run. */
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
  const disk = await rootfs.branch(files, lineage.layers, {
    owner: userOf(input.slot.index),
    sizeMb: lineage.disk_size_mb,
  });
  const generation = nextGeneration(lineage.generations);
  const chain = chainOf(files, lineage);
  const { folder } = files.saving;
  await times.measure(vmId, 'flush', () => rootfs.flush(files, lineage.layers));
  const thawKey = await noteFreeze(files.saving);
  const freezer = await times.measure(vmId, 'prepare', () =>
    context.vmm.freezer({ process: vm.process, files }, 'branch', disk, signal),
  );
  let frozen: Frozen;
  let devices: string;
  let flat: boolean;
  try {
    await times.measure(vmId, 'quiesce', () => freezeGuest(vm, thawKey, { sync: true }, signal));
    const began = performance.now();
    // That it is frozen is written down beside, so that it need not wait for that: an agent that is killed before finds a
    // guest that may be frozen, as good as one that was killed before it heard the answer.
    const [{ freezeMs, changedBytes }] = await allEnded([
      freezer.freeze(() => thaw(vm, thawKey, signal)),
      noteFrozen(files.saving, thawKey),
    ]);
    frozen = { freezeMs, standstillMs: performance.now() - began };
    await noteThawed(files.saving, thawKey);
    await writeWhole(files.lineage, { ...lineage, layers: [...disk.going] });
    devices = await times.measure(vmId, 'devices', () => takeDevices(files, files.saving.devices));
    flat = input.children > 0 && changedBytes > FLAT_BASE_BYTES;
    await times.measure(vmId, 'memory', () =>
      flat ? freezer.publishFlat(chain, folder, MEMORY) : freezer.publish(chain, folder, generation),
    );
    // A chain that is full takes no more: the next freeze takes longer instead.
    if (freezer.kept !== null && !flat && lineage.generations.length + 1 < GENERATIONS_BEFORE_MERGE) {
      await rm(files.at(generation), { force: true });
      await link(files.saving.at(generation), files.at(generation));
      const generations = [...lineage.generations, generation];
      await writeWhole(files.lineage, { ...lineage, layers: [...disk.going], generations });
      await freezer.kept();
    }
  } finally {
    freezer.close();
  }
  await writeSaved(files.saving, {
    thaw_key: thawKey,
    devices_sha256: devices,
    freeze_ms: frozen.freezeMs,
    generations: flat ? [] : [...lineage.generations, generation],
    layers: disk.frozen,
    flat,
  });
  const round = (milliseconds: number) => Math.round(milliseconds * 10) / 10;
  const timings = { freeze: round(frozen.freezeMs), standstill: round(frozen.standstillMs) };
  return { type: 'BRANCHED', timings_ms: { ...times.take(vmId), ...timings } };
}

async function thaw(vm: LiveVm, thawKey: string, signal: AbortSignal): Promise<void> {
  await vm.guest.thaw(thawKey, null, signal).catch((cause) => {
    throw new AgentError('guest_unresponsive', 'the guest was frozen and does not thaw', { cause });
  });
}

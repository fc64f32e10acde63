import { chown } from 'node:fs/promises';
import { allocate } from '@wrenn/addon';
import { layerName, type SandboxFiles } from '../files.ts';
import type { DiskBranch } from '../rootfs/store.ts';
import { userOf } from '../slots/names.ts';
import { publishBase, restoreMemory } from '../snapshots/memory.ts';
import { ProcessDriver } from './process-driver.ts';
import { type QemuPlatform, qemuArguments } from './qemu-arguments.ts';
import { QemuFreezer } from './qemu-freezer.ts';
import { VmmSession } from './session.ts';
import type { VmmFacts } from './snapshot-needs.ts';
import { endStall, watchStalls } from './stall.ts';
import type {
  AdoptedStatus,
  FreezePurpose,
  Freezer,
  LiveVmm,
  MachineSpec,
  Measure,
  Vmm,
  VmmProcess,
  VmmStatus,
} from './vmm.ts';
import { adoptedStatus, prepareFolder, prepareMemory } from './vmm-process.ts';

/** Under TCG QEMU has a handful of threads per vCPU. */
const TASKS = 256;
const MIB = 1 << 20;

export interface QemuOptions extends VmmFacts {
  readonly platform: QemuPlatform;
}

/** VM4: QEMU's microvm machine. */
export class Qemu extends ProcessDriver implements Vmm {
  readonly #platform: QemuOptions['platform'];

  constructor(options: QemuOptions) {
    super(options, TASKS);
    this.#platform = options.platform;
  }

  async boot(machine: MachineSpec, signal: AbortSignal): Promise<VmmProcess> {
    const { files, memoryMb, start, slot } = machine;
    const user = userOf(slot);
    await prepareFolder(files, user);
    if (start !== 'frozen') await prepareMemory(files, memoryMb, start === 'kernel' ? 0o444 : 0o600);
    if (start === 'template') {
      await allocate(files.memory, memoryMb * MIB); // a hole that finds no room while the guest writes is SIGBUS
      await chown(files.memory, user, user);
    }
    const args = qemuArguments(machine, this.#platform);
    return this.processes.start(machine, { args, stdout: files.log }, signal);
  }

  /** Memory before devices: virtio looks at its rings while it is loaded. */
  resume(
    { process, files }: LiveVmm,
    chain: readonly string[],
    measure: Measure,
    signal: AbortSignal,
  ): Promise<VmmStatus> {
    return VmmSession.with(files, signal, async (session) => {
      const status = await session.status();
      if (status === 'waiting') {
        await measure('memory', () => restoreMemory(process, files.memory, [...chain]));
        await measure('load', () => session.loadDevices());
      }
      if (status !== 'running') await session.continue();
      return status;
    });
  }

  stop(files: SandboxFiles, signal: AbortSignal): Promise<void> {
    return VmmSession.with(files, signal, (session) => session.stop());
  }

  /** The freeze may have ended before or after the guest's disk went on in a new layer, or have left that one open. */
  recover(files: SandboxFiles, layers: readonly string[], signal: AbortSignal): Promise<readonly string[]> {
    return VmmSession.with(files, signal, async (session) => {
      if ((await session.status()) === 'stopped') await session.continue();
      const next = layerName(layers.length);
      if ((await session.topLayer()) === next) return [...layers, next];
      await session.closeLayer(layers.length);
      return layers;
    });
  }

  freezer(vmm: LiveVmm, purpose: FreezePurpose, disk: DiskBranch | null, signal: AbortSignal): Promise<Freezer> {
    return QemuFreezer.prepare(vmm, purpose, disk, signal);
  }

  publishBase(files: SandboxFiles, memoryMb: number): Promise<void> {
    return publishBase(files, files.memory, memoryMb);
  }

  watchStalls(files: SandboxFiles, stalled: () => void, signal: AbortSignal): Promise<void> {
    return watchStalls(files, stalled, signal);
  }

  endStall(files: SandboxFiles, signal: AbortSignal): Promise<void> {
    return endStall(files, signal);
  }

  adopt(process: VmmProcess, files: SandboxFiles, signal: AbortSignal): Promise<AdoptedStatus> {
    const ask = (patience: AbortSignal) => VmmSession.with(files, patience, (session) => session.status());
    return adoptedStatus(process, ask, signal);
  }
}

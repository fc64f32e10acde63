import { performance } from 'node:perf_hooks';
import type { MemoryCapture, PreparedMemory } from '@wrenn/addon';
import { allEnded } from '../all-ended.ts';
import type { DiskBranch } from '../rootfs/store.ts';
import { prepareCapture, publishFlat, publishMemory } from '../snapshots/memory.ts';
import { VmmSession } from './session.ts';
import type { FreezePurpose, Freezer, LiveVmm } from './vmm.ts';

/**
 * SN14: what changed are the anonymous pages of the guest's mapping, copied while it stands still. A boot has its memory in
 * a file. All that can be opened, found and reserved before that is.
 */
export class QemuFreezer implements Freezer {
  readonly kept = null;
  readonly #session: VmmSession;
  readonly #prepared: PreparedMemory | null;
  readonly #disk: DiskBranch | null;
  #capture: MemoryCapture | null = null;

  private constructor(session: VmmSession, prepared: PreparedMemory | null, disk: DiskBranch | null) {
    this.#session = session;
    this.#prepared = prepared;
    this.#disk = disk;
  }

  static async prepare(
    { process, files }: LiveVmm,
    purpose: FreezePurpose,
    disk: DiskBranch | null,
    signal: AbortSignal,
  ): Promise<QemuFreezer> {
    const opening = [
      VmmSession.open(files, signal),
      purpose === 'boot' ? null : prepareCapture(process, files.memory, purpose === 'pause'),
    ] as const;
    try {
      const [session, prepared] = await allEnded(opening);
      const layer = newLayer(disk);
      if (layer !== null) await session.openLayer(layer);
      return new QemuFreezer(session, prepared, disk);
    } catch (error) {
      for (const opened of await Promise.allSettled(opening)) if (opened.status === 'fulfilled') opened.value?.close();
      throw error;
    }
  }

  async freeze(wake: () => Promise<void>): Promise<{ freezeMs: number; changedBytes: number }> {
    try {
      const freezeMs = await this.#stopAndCopy(wake);
      return { freezeMs, changedBytes: this.#capture?.dirtyBytes ?? 0 };
    } finally {
      this.#session.close();
    }
  }

  async publish(chain: readonly string[], dir: string, name: string): Promise<void> {
    await publishMemory(this.#captured(), [...chain], dir, name);
  }

  async publishFlat(chain: readonly string[], dir: string, name: string): Promise<void> {
    await publishFlat(this.#captured(), [...chain], dir, name);
  }

  close(): void {
    this.#session.close();
    this.#capture?.close();
    this.#prepared?.close();
  }

  /**
   * QEMU is told three things at once, and does them one after the other. As soon as the first is done, memory is copied
   * beside the others. They do not change it: `stop` has waited for what the disk was asked for, no device gives a guest
   * anything that stands, and none writes there when it is saved, for QEMU's own migration sends the last of the memory
   * before it saves the devices.
   */
  async #stopAndCopy(wake: () => Promise<void>): Promise<number> {
    const layer = newLayer(this.#disk);
    const began = performance.now();
    const stopped = this.#session.stop();
    await allEnded([
      stopped.then(() => this.#copy()),
      stopped.then(() => this.#disk?.cut()),
      this.#session.saveDevices(),
      layer !== null && this.#session.switchToLayer(layer),
    ]);
    if (this.#disk === null) return performance.now() - began;
    // What wakes the guest is at its network card when it runs.
    const runs = this.#session.continue().then(() => performance.now());
    const [runsSince] = await allEnded([runs, wake()]);
    return runsSince - began;
  }

  async #copy(): Promise<void> {
    if (this.#prepared !== null) this.#capture = await this.#prepared.capture();
  }

  #captured(): MemoryCapture {
    if (this.#capture === null) throw new Error('nothing was frozen, or all of it is in a file');
    return this.#capture;
  }
}

/** The layer that the disk is to go on in, where it is a new one. */
function newLayer(disk: DiskBranch | null): number | null {
  return disk !== null && disk.going.length > disk.frozen.length ? disk.going.length - 1 : null;
}

import { performance } from 'node:perf_hooks';
import type { MemoryCapture } from '@wrenn/addon';
import type { DiskBranch } from '../rootfs/store.ts';
import { prepareCapture, publishFlat, publishMemory } from '../snapshots/memory.ts';
import { VmmSession } from './session.ts';
import type { Freezer, LiveVmm } from './vmm.ts';

/** SN14: what changed are the anonymous pages of the guest's mapping, copied while it stands still. A boot has its memory in a file. */
export async function qemuFreezer({ process, files }: LiveVmm, isBoot: boolean): Promise<Freezer> {
  const prepared = isBoot ? null : await prepareCapture(process, files.memory);
  let capture: MemoryCapture | undefined;
  const captured = (): MemoryCapture => {
    if (capture === undefined) throw new Error('nothing was frozen, or all of it is in a file');
    return capture;
  };
  return {
    freeze: (disk: DiskBranch | null, signal: AbortSignal) =>
      VmmSession.with(files, signal, async (session) => {
        const stopped = performance.now();
        await session.stop();
        await session.saveDevices({ live: disk !== null });
        capture = await prepared?.capture();
        if (disk !== null) {
          await disk.cut();
          if (disk.going.length > disk.frozen.length) await session.addLayer(disk.going.length - 1);
          await session.continue();
        }
        return { freezeMs: performance.now() - stopped, changedBytes: capture?.dirtyBytes ?? 0 };
      }),
    publish: (chain, dir, name) => publishMemory(captured(), [...chain], dir, name),
    publishFlat: (chain, dir, name) => publishFlat(captured(), [...chain], dir, name),
    kept: null,
    close() {
      capture?.close();
      prepared?.close();
    },
  };
}

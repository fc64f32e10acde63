import { chown, lstat, rename, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { performance } from 'node:perf_hooks';
import { diffPublish, generationsFlatten } from '@wrenn/addon';
import { allEnded } from '../all-ended.ts';
import { AgentError } from '../errors.ts';
import type { SandboxFiles } from '../files.ts';
import { allocatedBytes } from '../rootfs/allocated-bytes.ts';
import type { DiskBranch } from '../rootfs/store.ts';
import type { FirecrackerApi } from './firecracker-api.ts';
import { saveWorkingSet } from './memory-server.ts';
import { seenByVmm } from './view.ts';
import type { FreezePurpose, Freezer, LiveVmm } from './vmm.ts';

/** There from a freeze on, until what that found is in the chain of the VM itself. */
const FROZEN_BEFORE = 'frozen-before';
/** What it left, once it is ours. */
const TAKEN = 'memory.new';

/**
 * SN3: Firecracker itself knows which pages were written to since the last time that it said so, and writes them to a
 * sparse file. After a freeze whose finding is in no chain of this VM (one that came to nothing, say) that would be too
 * little: then all of memory is written, and compared.
 */
export async function firecrackerFreezer(
  { files }: LiveVmm,
  api: FirecrackerApi,
  purpose: FreezePurpose,
  disk: DiskBranch | null,
  signal: AbortSignal,
): Promise<Freezer> {
  for (const old of [savedMemory(files), files.at(TAKEN)]) await rm(old, { recursive: true, force: true });
  let taken: string | undefined;
  const memory = (): string => {
    if (taken === undefined) throw new Error('nothing was frozen, or it is to become a base');
    return taken;
  };
  return {
    async freeze(wake: () => Promise<void>) {
      const snapshot_type = await typeOf(files);
      const stopped = performance.now();
      await api.call('PATCH /vm', { state: 'Paused' }, signal);
      const paths = { snapshot_path: seenByVmm.files.devicesInRun, mem_file_path: savedMemory(seenByVmm.files) };
      await api.call('PUT /snapshot/create', { snapshot_type, ...paths }, signal);
      let freezeMs = performance.now() - stopped;
      if (disk !== null) {
        await disk.cut();
        const runs = api.call('PATCH /vm', { state: 'Resumed' }, signal).then(() => performance.now());
        const [runsSince] = await allEnded([runs, wake()]);
        freezeMs = runsSince - stopped;
      }
      if (purpose === 'boot') return { freezeMs, changedBytes: 0 };
      taken = await takeMemory(files, files.at(TAKEN));
      if (purpose === 'pause') await saveWorkingSet(files);
      return { freezeMs, changedBytes: await allocatedBytes(taken) };
    },
    async publish(chain, dir, name) {
      await diffPublish(memory(), { chain: [...chain], dir, name });
      await rm(memory());
    },
    async publishFlat(chain, dir, name) {
      const aside = 'flat.gen';
      await diffPublish(memory(), { chain: [...chain], dir, name: aside });
      await generationsFlatten({ chain: [...chain, join(dir, aside)], dir, name });
      await rm(join(dir, aside));
      await rm(memory());
    },
    kept: () => rm(files.at(FROZEN_BEFORE)),
    close() {},
  };
}

/** Written before Firecracker is asked: whatever becomes of that, the next one must not count on what it says of changes. */
async function typeOf(files: SandboxFiles): Promise<'Full' | 'Diff'> {
  try {
    await writeFile(files.at(FROZEN_BEFORE), '', { flag: 'wx', mode: 0o600 });
    return 'Diff';
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'EEXIST') throw error;
    return 'Full';
  }
}

/** Where a save leaves memory, as far as it is told to: a file as large as the memory, with holes. */
function savedMemory(files: SandboxFiles): string {
  return join(files.run, 'memory');
}

/**
 * Takes what the VMM has written out of the folder that is the VMM's. It could have put anything there: nothing but a
 * file that has no other name is read. With `bytes` it must have that size.
 */
export async function takeMemory(files: SandboxFiles, target: string, bytes?: number): Promise<string> {
  await rename(savedMemory(files), target).catch((error: NodeJS.ErrnoException) => {
    if (error.code !== 'ENOENT') throw error; // taken by an attempt that was cut short
  });
  const found = await lstat(target);
  if (!found.isFile() || found.nlink !== 1 || (bytes !== undefined && found.size !== bytes)) {
    throw new AgentError('vmm_failed', 'what the VMM left is not the memory of its guest');
  }
  await chown(target, 0, 0);
  return target;
}

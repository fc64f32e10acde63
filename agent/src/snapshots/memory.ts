import { chown } from 'node:fs/promises';
import {
  basePublish,
  generationsMerge,
  type MemoryCapture,
  memoryPrepare,
  memoryRestore,
  type PreparedMemory,
} from '@wrenn/addon';
import { MEMORY, type SandboxFiles } from '../files.ts';
import type { VmmProcess } from '../vmm/vmm.ts';

/** SN3: so many generations become one. */
export const GENERATIONS_BEFORE_MERGE = 8;
const MIB = 1 << 20;

/**
 * A VMM whose memory can be copied at once; made while it still runs. `close` gives back what it took. `still`: the guest's
 * processes stand already.
 */
export function prepareCapture({ pid, startTime }: VmmProcess, path: string, still: boolean): Promise<PreparedMemory> {
  return memoryPrepare({ pid, startTime, path, still });
}

/** Writes what changed since the chain's last generation as `dir`/`name`. */
export async function publishMemory(capture: MemoryCapture, chain: string[], dir: string, name: string): Promise<void> {
  await capture.publish({ chain, dir, name });
}

/** Writes all of memory as `dir`/`name`, a base of its own. */
export async function publishFlat(capture: MemoryCapture, chain: string[], dir: string, name: string): Promise<void> {
  await capture.publishFlat({ chain, dir, name });
}

/** Writes the generations after the base into a VMM that waits. */
export async function restoreMemory({ pid, startTime }: VmmProcess, path: string, chain: string[]): Promise<void> {
  if (chain.length > 1) await memoryRestore({ pid, startTime, path, chain });
}

/** One generation for all of the chain after the base. */
export async function mergeGenerations(chain: string[], dir: string, name: string): Promise<void> {
  await generationsMerge({ chain, dir, name });
}

/** The memory that a VMM wrote to `file`, which is gone, becomes a base: durable, root's, read-only, its zeros holes. */
export async function publishBase(files: SandboxFiles, file: string, memoryMb: number): Promise<void> {
  await chown(file, 0, 0); // it was the VMM's, which was to write it
  await basePublish({ file, memoryBytes: memoryMb * MIB, dir: files.folder, name: MEMORY });
}

import { createHash } from 'node:crypto';
import { constants } from 'node:fs';
import { open, stat } from 'node:fs/promises';
import type { SnapshotInfo } from '@wrenn/actors';
import { AgentError } from '../errors.ts';
import { type FrozenFiles, layerName, MEMORY, type SandboxFiles } from '../files.ts';
import { allocatedBytes } from '../rootfs/allocated-bytes.ts';
import type { Lineage, Manifest } from './manifest.ts';

/** Devices of a microvm take some 10 KB; a VMM that was broken out of may write what it likes. */
const MAX_DEVICES_BYTES = 16 << 20;

/** Names of all files that a snapshot consists of, beside its manifest. */
export function filesOf({ generations, layers }: Pick<Lineage, 'generations' | 'layers'>): string[] {
  return [MEMORY, ...generations, 'devices', ...layers];
}

/** Paths of memory's generations in a folder, oldest first. */
export function chainOf(files: FrozenFiles, { generations }: Pick<Lineage, 'generations'>): string[] {
  return [files.memory, ...generations.map((name) => files.at(name))];
}

/** A name for the generation after these: numbers rise, also over a merge. */
export function nextGeneration(generations: readonly string[]): string {
  return `${Number.parseInt(generations.at(-1) ?? '0', 10) + 1}.gen`;
}

/**
 * Takes over what the VMM has written: into a file of root's that nobody changes any more. Gives its checksum. The VMM
 * could put anything in its place, so no link is followed and no more is read than devices can have.
 */
export async function takeDevices(files: SandboxFiles, target: string): Promise<string> {
  const source = await open(files.devicesInRun, constants.O_RDONLY | constants.O_NOFOLLOW | constants.O_NONBLOCK);
  try {
    const { size } = await source.stat();
    if (size > MAX_DEVICES_BYTES) throw new AgentError('vmm_failed', 'the VMM wrote devices without end');
    const bytes = Buffer.alloc(size);
    await source.read(bytes, 0, size, 0);
    const file = await open(target, 'w', 0o444);
    try {
      await file.writeFile(bytes);
      await file.chmod(0o444);
      await file.sync();
    } finally {
      await file.close();
    }
    return createHash('sha256').update(bytes).digest('hex');
  } finally {
    await source.close();
  }
}

/** Size of each file of a snapshot, by the name that it has there. */
export async function sizesOf(sources: ReadonlyMap<string, string>): Promise<Record<string, number>> {
  const sizes: Record<string, number> = {};
  for (const [name, path] of sources) sizes[name] = (await stat(path)).size;
  return sizes;
}

/** What the protocol says of a snapshot. */
export async function infoOf(snapshotId: string, manifest: Manifest, files: FrozenFiles): Promise<SnapshotInfo> {
  const sum = async (names: readonly string[]) => {
    let bytes = 0;
    for (const name of names) bytes += await allocatedBytes(files.at(name));
    return bytes;
  };
  return {
    snapshot_id: snapshotId,
    memory_bytes: await sum(manifest.generations),
    disk_bytes: await sum(manifest.layers.filter((name) => name !== layerName(0))),
    generations: manifest.generations.length,
    vcpus: manifest.vcpus,
    memory_mb: manifest.memory_mb,
    disk_size_mb: manifest.disk_size_mb,
    freeze_ms: manifest.freeze_ms,
    needs: { ...manifest.needs },
  };
}

import { chmod, chown, copyFile, link, readdir, rename, rm, stat } from 'node:fs/promises';
import { AgentError } from '../errors.ts';
import { type FrozenFiles, layerName, type SandboxFiles } from '../files.ts';
import { runProgram } from '../run-program.ts';
import { allocatedBytes } from './allocated-bytes.ts';
import { datasync, share } from './files.ts';
import type { Images } from './images.ts';
import { writeOverlay } from './qcow2-file.ts';
import type { Disk, DiskBranch, DiskSpec, Drive, RootfsStore } from './store.ts';

const MIB = 1 << 20;
/** Every layer costs each first read a look: so many overlays are merged into one (design.md §5). */
const MERGE_AT = 8;
const LAYER = /^disk-\d+$/;

/** FS3: qcow2 overlays on a base image that all share. Needs nothing of the kernel. */
export class Qcow2Store implements RootfsStore {
  readonly name = 'qcow2';
  readonly #images: Images;

  constructor(images: Images) {
    this.#images = images;
  }

  async create(files: SandboxFiles, spec: DiskSpec): Promise<Disk> {
    const image = await this.#images.find(spec.template);
    const sizeBytes = spec.sizeMb * MIB;
    if (sizeBytes < image.sizeBytes) {
      const least = Math.ceil(image.sizeBytes / MIB);
      throw new AgentError('disk_too_small', `the template ${spec.template} needs a disk of at least ${least} MB`);
    }
    await this.remove(files);
    await share(image.path, files.at(layerName(0)));
    return overlay(files, [layerName(0)], spec.owner, sizeBytes);
  }

  async restore(
    files: SandboxFiles,
    from: { readonly files: FrozenFiles; readonly layers: readonly string[] },
    { owner, sizeMb }: Pick<DiskSpec, 'owner' | 'sizeMb'>,
  ): Promise<Disk> {
    await this.remove(files);
    // By their place: each layer names the one below it so, and a merged one has the name of the first that it stands for.
    const layers = from.layers.map((_, index) => layerName(index));
    for (const [index, name] of from.layers.entries()) await link(from.files.at(name), files.at(layerName(index)));
    return overlay(files, layers, owner, sizeMb * MIB);
  }

  drive(layers: readonly string[]): Drive {
    return { name: topOf(layers), format: 'qcow2' };
  }

  async branch(
    files: SandboxFiles,
    layers: readonly string[],
    { owner, sizeMb }: Pick<DiskSpec, 'owner' | 'sizeMb'>,
  ): Promise<DiskBranch> {
    const { layers: going } = await overlay(files, layers, owner, sizeMb * MIB);
    return { frozen: layers, going, cut: async () => {} };
  }

  async settle(files: SandboxFiles, layers: readonly string[]): Promise<void> {
    await rm(files.at(layerName(indexOf(topOf(layers)) + 1)), { force: true });
  }

  async flush(files: SandboxFiles, layers: readonly string[]): Promise<void> {
    await datasync(files.at(topOf(layers)));
  }

  async freeze(files: SandboxFiles, layers: readonly string[], signal: AbortSignal): Promise<readonly string[]> {
    // Not only the top: a branch that was given up may have left the one below it as it was. And the top again: a pause that
    // was given up may have left it so, and its guest has written to it since.
    for (const name of layers.slice(1)) {
      const path = files.at(name);
      if ((await stat(path)).uid === 0 && name !== topOf(layers)) continue;
      await datasync(path);
      await chown(path, 0, 0);
      await chmod(path, 0o444);
    }
    return layers.length <= MERGE_AT ? layers : merge(files, layers, signal);
  }

  async flatten(files: FrozenFiles, layers: readonly string[], target: string, signal: AbortSignal): Promise<void> {
    const format = layers.length > 1 ? 'qcow2' : 'raw';
    await runProgram(
      'qemu-img',
      ['convert', '-q', '-U', '-f', format, '-O', 'raw', files.at(topOf(layers)), target],
      signal,
    );
    await datasync(target);
  }

  async release(): Promise<void> {}
  async releaseOrphans(): Promise<void> {}

  async remove(files: SandboxFiles): Promise<void> {
    for (const name of await namesIn(files)) await rm(files.at(name), { force: true });
  }

  async usedBytes(files: SandboxFiles): Promise<number> {
    const overlays = (await namesIn(files)).filter((name) => name !== layerName(0));
    return overlays.length === 0 ? 0 : allocatedBytes(files.at(topOf(overlays.sort(byIndex))));
  }
}

const topOf = (layers: readonly string[]): string => layers.at(-1) ?? layerName(0);
const indexOf = (name: string): number => Number(name.slice('disk-'.length));
const byIndex = (one: string, other: string): number => indexOf(one) - indexOf(other);

async function namesIn(files: FrozenFiles): Promise<string[]> {
  try {
    return (await readdir(files.folder)).filter((name) => LAYER.test(name));
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return [];
    throw error;
  }
}

/**
 * An empty overlay on the top layer. The one below is named relative to it, so that the folder stays whole wherever it is
 * linked or moved to.
 */
async function overlay(files: SandboxFiles, below: readonly string[], owner: number, sizeBytes: number): Promise<Disk> {
  const backing = topOf(below);
  const name = layerName(indexOf(backing) + 1);
  const path = files.at(name);
  await rm(path, { force: true });
  await writeOverlay(path, { sizeBytes, backing, backingFormat: indexOf(backing) === 0 ? 'raw' : 'qcow2' });
  await chown(path, owner, owner);
  return { path, layers: [...below, name] };
}

/**
 * All overlays as one, in a new file over the image. The chain's own files stay as they are: others may have links to them,
 * and a VM that runs on still reads them.
 */
async function merge(files: SandboxFiles, layers: readonly string[], signal: AbortSignal): Promise<readonly string[]> {
  const image = layerName(0);
  const merged = layerName(1);
  const aside = files.at('disk-merged');
  await rm(aside, { force: true });
  await copyFile(files.at(topOf(layers)), aside);
  await chmod(aside, 0o600);
  await runProgram('qemu-img', ['rebase', '-q', '-U', '-f', 'qcow2', '-F', 'raw', '-b', image, aside], signal);
  await datasync(aside);
  await chmod(aside, 0o444);
  await rename(aside, files.at(`${merged}.merged`));
  return [image, `${merged}.merged`];
}

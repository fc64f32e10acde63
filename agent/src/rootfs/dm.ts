import { createHash, randomBytes } from 'node:crypto';
import { chown, readFile, rm, stat, writeFile } from 'node:fs/promises';
import { basename, dirname } from 'node:path';
import {
  type DmDisk,
  dmDiskBranch,
  dmDiskCreate,
  dmDiskFlatten,
  dmDiskList,
  dmDiskRemove,
  dmDiskRestore,
  sparseCopy,
} from '@wrenn/addon';
import { DISK_DEVICE, DISK_ID, type FrozenFiles, type SandboxFiles } from '../files.ts';
import { runProgram } from '../run-program.ts';
import { CopiedStore } from './copied.ts';
import { datasync } from './files.ts';
import type { Image, Images } from './images.ts';
import type { Drive } from './store.ts';

/** For a program that does one system call. */
const PATIENCE_MS = 10_000;
const MIB = 1 << 20;
/** A copy-on-write file has a page of metadata for each MiB of the disk, and a MiB of slack (native/addon/src/dm). */
const METADATA_BYTES_PER_MIB = 4096;

/**
 * FS1, FS2: device-mapper snapshots. All disks of an image share its loop device; the guest's own file is the copy-on-write
 * file. The device is `wrenn-<vm id>.<mark of the agent's folder>`; its node, which the VMM opens, and its name lie in the
 * VM's folder, which may be given another name (a VM that was made ahead).
 */
export class DmStore extends CopiedStore {
  readonly name = 'dm';
  readonly #mark: string;

  constructor(images: Images, root: string) {
    super(images);
    this.#mark = createHash('sha256').update(root).digest('hex').slice(0, 8);
  }

  drive(): Drive {
    return { name: DISK_DEVICE, format: 'raw' };
  }

  /** By a disk of its own, on a copy: what is frozen is not attached. */
  async flatten(files: FrozenFiles, layers: readonly string[], target: string): Promise<void> {
    const [image = CopiedStore.image, own = CopiedStore.own] = layers;
    const cow = `${target}.cow`;
    const id = this.#idOf(`flatten.${randomBytes(6).toString('hex')}`);
    await rm(cow, { force: true });
    await sparseCopy(files.at(own), cow);
    try {
      await dmDiskRestore({ id, base: files.at(image), cow, bytes: await bytesOf(cow) });
      await dmDiskFlatten(id, dirname(target), basename(target));
    } finally {
      await dmDiskRemove(id);
      await rm(cow, { force: true });
    }
  }

  /** Tries for 10 s where it is busy, then fails; the VMM must be gone. */
  async release(files: SandboxFiles): Promise<void> {
    const id = await this.#noted(files);
    if (id === null) return;
    await rm(files.at(DISK_DEVICE), { force: true });
    await dmDiskRemove(id);
    await rm(files.at(DISK_ID));
  }

  async releaseOrphans(owned: readonly SandboxFiles[]): Promise<void> {
    const known = new Set(await Promise.all(owned.map((files) => this.#noted(files))));
    for (const id of await dmDiskList()) if (id.endsWith(`.${this.#mark}`) && !known.has(id)) await dmDiskRemove(id);
  }

  protected async make(files: SandboxFiles, _: Image, bytes: number, owner: number): Promise<void> {
    await this.#expose(files, owner, await dmDiskCreate({ ...(await this.#name(files)), bytes }));
  }

  protected async attach(files: SandboxFiles, bytes: number, owner: number): Promise<void> {
    await this.#expose(files, owner, await dmDiskRestore({ ...(await this.#name(files)), bytes }));
  }

  protected async copy(files: SandboxFiles, target: string): Promise<void> {
    const id = await this.#noted(files);
    if (id !== null) await dmDiskBranch(id, files.at(CopiedStore.own), target);
  }

  /** Through the device: what the VMM wrote is in its cache. It is gone already where a pause is published once more. */
  protected async sync(files: SandboxFiles): Promise<void> {
    await datasync(files.at(DISK_DEVICE)).catch((error: NodeJS.ErrnoException) => {
      if (error.code !== 'ENOENT' && error.code !== 'ENXIO') throw error;
    });
  }

  #idOf(name: string): string {
    return `${name}.${this.#mark}`;
  }

  /** Noted before the device is made, so that whatever comes of it is found. */
  async #name(files: SandboxFiles): Promise<{ id: string; base: string; cow: string }> {
    const id = this.#idOf(basename(files.folder));
    await writeFile(files.at(DISK_ID), id, { mode: 0o600 });
    return { id, base: files.at(CopiedStore.image), cow: files.at(CopiedStore.own) };
  }

  async #noted(files: SandboxFiles): Promise<string | null> {
    try {
      return await readFile(files.at(DISK_ID), 'utf8');
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code === 'ENOENT') return null;
      throw error;
    }
  }

  /** A node that the VMM may open, and nobody else: the machine's own is root's, and udev may set it right at any time. */
  async #expose(files: SandboxFiles, owner: number, { major, minor }: DmDisk): Promise<void> {
    const node = files.at(DISK_DEVICE);
    await rm(node, { force: true });
    await runProgram('mknod', ['-m', '600', node, 'b', `${major}`, `${minor}`], AbortSignal.timeout(PATIENCE_MS));
    await chown(node, owner, owner);
  }
}

/** Size of the disk that a copy-on-write file is of: disks are of whole MiB. */
async function bytesOf(cow: string): Promise<number> {
  const { size } = await stat(cow);
  return ((size - MIB) / (MIB + METADATA_BYTES_PER_MIB)) * MIB;
}

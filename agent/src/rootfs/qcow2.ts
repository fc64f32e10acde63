import { chmod, chown, link, rm, symlink } from 'node:fs/promises';
import { basename } from 'node:path';
import { AgentError } from '../errors.ts';
import type { SandboxFiles } from '../files.ts';
import { runProgram } from '../run-program.ts';
import { allocatedBytes } from './allocated-bytes.ts';
import type { Images } from './images.ts';
import type { Disk, DiskSpec, RootfsStore } from './store.ts';

const MIB = 1 << 20;

/** FS3: one qcow2 overlay per VM on a base image that all share. Needs nothing of the kernel. */
export class Qcow2Store implements RootfsStore {
  readonly name = 'qcow2';
  readonly #images: Images;

  constructor(images: Images) {
    this.#images = images;
  }

  async create(files: SandboxFiles, spec: DiskSpec, signal: AbortSignal): Promise<Disk> {
    const image = await this.#images.find(spec.template);
    const sizeBytes = spec.sizeMb * MIB;
    if (sizeBytes < image.sizeBytes) {
      const least = Math.ceil(image.sizeBytes / MIB);
      throw new AgentError('disk_too_small', `the template ${spec.template} needs a disk of at least ${least} MB`);
    }
    await this.remove(files);
    await shareBase(image.path, files.base);
    // The base is named relative to the overlay, so that the folder stays whole wherever it is linked or moved to.
    const options = ['-q', '-f', 'qcow2', '-F', 'raw', '-b', basename(files.base), files.disk, `${sizeBytes}`];
    await runProgram('qemu-img', ['create', ...options], signal);
    await chown(files.disk, spec.owner, spec.owner);
    await chmod(files.disk, 0o600);
    return { path: files.disk, sizeBytes };
  }

  async remove(files: SandboxFiles): Promise<void> {
    await rm(files.disk, { force: true });
    await rm(files.base, { force: true });
  }

  usedBytes(files: SandboxFiles): Promise<number> {
    return allocatedBytes(files.disk);
  }
}

/** A hard link keeps this version of the image for as long as the VM needs it; another file system leaves only a symbolic one. */
async function shareBase(image: string, base: string): Promise<void> {
  try {
    await link(image, base);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'EXDEV') throw error;
    await symlink(image, base);
  }
}

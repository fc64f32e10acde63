import { chmod, link, readdir, rm } from 'node:fs/promises';
import { sparseCopy } from '@wrenn/addon';
import { AgentError } from '../errors.ts';
import { type FrozenFiles, layerName, type SandboxFiles } from '../files.ts';
import { allocatedBytes } from './allocated-bytes.ts';
import { datasync, share } from './files.ts';
import type { Image, Images } from './images.ts';
import type { Disk, DiskBranch, DiskSpec, Drive, RootfsStore } from './store.ts';

const MIB = 1 << 20;
/** The image, as it was when the disk was made; and what the guest writes. */
const IMAGE = layerName(0);
const OWN = layerName(1);
/** What is copied for a branch while the VM stands still, until it is published. */
const CUT = `${OWN}.frozen`;
const LAYERS: readonly string[] = [IMAGE, OWN];
const LAYER = /^disk-\d+/;

/**
 * A store whose disks have two files: the image, which all share, and one that the guest writes to. A VM that starts from
 * a frozen disk gets a copy of that file, and so does a snapshot of one that runs on: a reflink where the file system has
 * such, else as many bytes as the guest has written.
 */
export abstract class CopiedStore implements RootfsStore {
  abstract readonly name: string;
  readonly #images: Images;

  constructor(images: Images) {
    this.#images = images;
  }

  abstract drive(layers: readonly string[]): Drive;
  abstract flatten(files: FrozenFiles, layers: readonly string[], target: string, signal: AbortSignal): Promise<void>;
  abstract release(files: SandboxFiles): Promise<void>;
  abstract releaseOrphans(owned: readonly SandboxFiles[]): Promise<void>;

  /** Makes the guest's own file from the image. */
  protected abstract make(files: SandboxFiles, image: Image, sizeBytes: number, owner: number): Promise<void>;
  /** Makes a disk of files that are there. */
  protected abstract attach(files: SandboxFiles, sizeBytes: number, owner: number): Promise<void>;
  /** Copies the guest's own file as it is at this moment. */
  protected abstract copy(files: SandboxFiles, target: string): Promise<void>;
  /** What was written to the disk is in the file. */
  protected abstract sync(files: SandboxFiles): Promise<void>;

  protected static readonly image = IMAGE;
  protected static readonly own = OWN;

  async create(files: SandboxFiles, spec: DiskSpec): Promise<Disk> {
    const image = await this.#images.find(spec.template);
    const sizeBytes = spec.sizeMb * MIB;
    if (sizeBytes < image.sizeBytes) {
      const least = Math.ceil(image.sizeBytes / MIB);
      throw new AgentError('disk_too_small', `the template ${spec.template} needs a disk of at least ${least} MB`);
    }
    await this.remove(files);
    await share(image.path, files.at(IMAGE));
    await this.make(files, image, sizeBytes, spec.owner);
    return this.#disk(files);
  }

  async restore(
    files: SandboxFiles,
    from: { readonly files: FrozenFiles; readonly layers: readonly string[] },
    { owner, sizeMb }: Pick<DiskSpec, 'owner' | 'sizeMb'>,
  ): Promise<Disk> {
    await this.remove(files);
    const [image = IMAGE, own = OWN] = from.layers;
    await link(from.files.at(image), files.at(IMAGE));
    await sparseCopy(from.files.at(own), files.at(OWN));
    await chmod(files.at(OWN), 0o600);
    await this.attach(files, sizeMb * MIB, owner);
    return this.#disk(files);
  }

  async branch(files: SandboxFiles, layers: readonly string[]): Promise<DiskBranch> {
    await rm(files.at(CUT), { force: true });
    return { frozen: [IMAGE, CUT], going: layers, cut: () => this.copy(files, files.at(CUT)) };
  }

  async settle(files: SandboxFiles): Promise<void> {
    await rm(files.at(CUT), { force: true });
  }

  async flush(files: SandboxFiles): Promise<void> {
    await this.sync(files);
  }

  async freeze(files: SandboxFiles, layers: readonly string[]): Promise<readonly string[]> {
    const own = files.at(layers.at(-1) ?? OWN);
    if (layers.includes(OWN)) await this.sync(files);
    await datasync(own);
    await chmod(own, 0o444);
    return layers;
  }

  async remove(files: SandboxFiles): Promise<void> {
    await this.release(files);
    const names = await readdir(files.folder).catch((error: NodeJS.ErrnoException) => {
      if (error.code !== 'ENOENT') throw error;
      return [];
    });
    for (const name of names) if (LAYER.test(name)) await rm(files.at(name), { force: true });
  }

  usedBytes(files: SandboxFiles): Promise<number> {
    return allocatedBytes(files.at(OWN));
  }

  #disk(files: SandboxFiles): Disk {
    return { path: files.at(this.drive(LAYERS).name), layers: LAYERS };
  }
}

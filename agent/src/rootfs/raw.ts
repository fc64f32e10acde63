import { chmod, chown, rm, truncate } from 'node:fs/promises';
import { sparseCopy } from '@wrenn/addon';
import type { FrozenFiles, SandboxFiles } from '../files.ts';
import { CopiedStore } from './copied.ts';
import { datasync } from './files.ts';
import type { Image } from './images.ts';
import type { Drive } from './store.ts';

/** FS3: a copy of the image for each VM, for a VMM that knows no overlays where the kernel has no device-mapper. */
export class RawStore extends CopiedStore {
  readonly name = 'raw';

  drive(): Drive {
    return { name: CopiedStore.own, format: 'raw' };
  }

  async flatten(files: FrozenFiles, layers: readonly string[], target: string): Promise<void> {
    await rm(target, { force: true });
    await sparseCopy(files.at(layers.at(-1) ?? CopiedStore.own), target);
    await chmod(target, 0o644);
    await datasync(target);
  }

  async release(): Promise<void> {}
  async releaseOrphans(): Promise<void> {}

  protected async make(files: SandboxFiles, image: Image, sizeBytes: number, owner: number): Promise<void> {
    await sparseCopy(image.path, files.at(CopiedStore.own));
    await chmod(files.at(CopiedStore.own), 0o600);
    await truncate(files.at(CopiedStore.own), sizeBytes);
    await this.attach(files, sizeBytes, owner);
  }

  protected attach(files: SandboxFiles, _: number, owner: number): Promise<void> {
    return chown(files.at(CopiedStore.own), owner, owner);
  }

  protected async copy(files: SandboxFiles, target: string): Promise<void> {
    await sparseCopy(files.at(CopiedStore.own), target);
    await chown(target, 0, 0);
  }

  protected sync(files: SandboxFiles): Promise<void> {
    return datasync(files.at(CopiedStore.own));
  }
}

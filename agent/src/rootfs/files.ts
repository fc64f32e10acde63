import { link, open } from 'node:fs/promises';
import { sparseCopy } from '@wrenn/addon';

/** What was written to a file, or to a block device, is on the disk. */
export async function datasync(path: string): Promise<void> {
  const file = await open(path, 'r');
  try {
    await file.datasync();
  } finally {
    await file.close();
  }
}

/**
 * A hard link keeps this version of the image for as long as the VM needs it. From another file system it is copied: a
 * symbolic link would lead out of all that the VMM sees.
 */
export async function share(image: string, target: string): Promise<void> {
  try {
    await link(image, target);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'EXDEV') throw error;
    await sparseCopy(image, target);
    await datasync(target); // snapshots rely on it from now on
  }
}

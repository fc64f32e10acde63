import { link, open, symlink } from 'node:fs/promises';

/** What was written to a file, or to a block device, is on the disk. */
export async function datasync(path: string): Promise<void> {
  const file = await open(path, 'r');
  try {
    await file.datasync();
  } finally {
    await file.close();
  }
}

/** A hard link keeps this version of the image for as long as the VM needs it; another file system leaves only a symbolic one. */
export async function share(image: string, target: string): Promise<void> {
  try {
    await link(image, target);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'EXDEV') throw error;
    await symlink(image, target);
  }
}

import { stat } from 'node:fs/promises';

/** `st_blocks` counts in units of 512 bytes, whatever the file system's block size is. */
const STAT_BLOCK_BYTES = 512;

/** What a sparse file really takes (FS6); 0 when it is not there. */
export async function allocatedBytes(path: string): Promise<number> {
  try {
    return (await stat(path)).blocks * STAT_BLOCK_BYTES;
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return 0;
    throw error;
  }
}

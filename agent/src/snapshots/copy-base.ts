import { constants, copyFile } from 'node:fs/promises';
import { basePublish } from '@wrenn/addon';
import { type FrozenFiles, MEMORY } from '../files.ts';

const MIB = 1 << 20;

/** The same base in another file, in `to`'s folder: the kernel keeps its pages apart, also where the disk shares blocks. */
export async function copyBase(from: FrozenFiles, to: FrozenFiles, memoryMb: number): Promise<void> {
  const copy = to.at('copy');
  await copyFile(from.memory, copy, constants.COPYFILE_FICLONE);
  await basePublish({ file: copy, memoryBytes: memoryMb * MIB, dir: to.folder, name: MEMORY });
}

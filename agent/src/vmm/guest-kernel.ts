import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { z } from 'zod';

/** `kernel.json`, written with the kernel (images/kernel.ts). */
const manifest = z.object({
  version: z.string(),
  digest: z.string(),
  arguments: z.string(),
  emulated_arguments: z.string().default(''),
});

export interface GuestKernel {
  readonly version: string;
  /** A snapshot is bound to it (SN12). */
  readonly digest: string;
  readonly arguments: string;
  /** Further ones without hardware virtualisation. */
  readonly emulatedArguments: string;
  /** File names in the folder of kernels. The uncompressed image: unpacking takes an emulated CPU 0.7 s. */
  readonly image: 'vmlinux';
  readonly initrd: 'initrd';
}

export async function readGuestKernel(folder: string): Promise<GuestKernel> {
  const found = manifest.parse(JSON.parse(await readFile(join(folder, 'kernel.json'), 'utf8')));
  const { version, digest, arguments: args, emulated_arguments: emulatedArguments } = found;
  return { version, digest, arguments: args, emulatedArguments, image: 'vmlinux', initrd: 'initrd' };
}

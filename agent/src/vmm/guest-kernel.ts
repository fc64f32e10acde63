import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { z } from 'zod';

/** `kernel.json`, written with the kernel (images/kernel.ts). */
const manifest = z.object({ version: z.string(), digest: z.string(), arguments: z.string() });

export interface GuestKernel {
  readonly version: string;
  /** A snapshot is bound to it (SN12). */
  readonly digest: string;
  readonly arguments: string;
  /** File names in the folder of kernels. The uncompressed image: unpacking takes an emulated CPU 0.7 s. */
  readonly image: 'vmlinux';
  readonly initrd: 'initrd';
}

export async function readGuestKernel(folder: string): Promise<GuestKernel> {
  const {
    version,
    digest,
    arguments: args,
  } = manifest.parse(JSON.parse(await readFile(join(folder, 'kernel.json'), 'utf8')));
  return { version, digest, arguments: args, image: 'vmlinux', initrd: 'initrd' };
}

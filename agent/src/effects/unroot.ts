import { rm } from 'node:fs/promises';
import type { Undone, UnrootInput } from '@wrenn/actors';
import type { EffectContext } from './context.ts';

/** `vm.unroot`: the disk, then everything else of the VM's folder. Its VMM is gone (FS2). */
export async function unroot(context: EffectContext, vmId: string, _: UnrootInput): Promise<Undone> {
  const files = context.files.sandbox(vmId);
  await context.rootfs.remove(files);
  await rm(files.folder, { recursive: true, force: true });
  return { type: 'UNDONE', step: 'unroot' };
}

import { mkdir } from 'node:fs/promises';
import type { RootfsInput, VmRootfsReady } from '@wrenn/actors';
import { AgentError } from '../errors.ts';
import { userOf } from '../slots/names.ts';
import type { EffectContext } from './context.ts';

/** `vm.rootfs`: the VM's folder and its disk (FS2–FS4). */
export async function makeRootfs(
  context: EffectContext,
  vmId: string,
  input: RootfsInput,
  signal: AbortSignal,
): Promise<VmRootfsReady> {
  const slot = context.slots.takenBy(vmId);
  if (slot === undefined) throw new AgentError('internal', `${vmId} has no network slot`);
  const files = context.files.sandbox(vmId);
  await mkdir(files.folder, { recursive: true, mode: 0o711 });
  const spec = { template: input.template, sizeMb: input.disk_size_mb, owner: userOf(slot) };
  const disk = await context.times.measure(vmId, 'rootfs', () => context.rootfs.create(files, spec, signal));
  return { type: 'ROOTFS_READY', disk: { path: disk.path, format: context.rootfs.name } };
}

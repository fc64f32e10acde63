import { link, mkdir, rm } from 'node:fs/promises';
import type { RootfsInput, VmOrigin, VmRootfsReady } from '@wrenn/actors';
import { AgentError } from '../errors.ts';
import { MEMORY, type SandboxFiles, WORKING_SET } from '../files.ts';
import type { Disk } from '../rootfs/store.ts';
import { userOf } from '../slots/names.ts';
import { type Lineage, writeWhole } from '../snapshots/manifest.ts';
import type { EffectContext } from './context.ts';

/**
 * `vm.rootfs`: the VM's folder (FS2–FS4): its disk, and a hard link to every file of what it starts from, so that it lives
 * on whatever becomes of that.
 */
export async function makeRootfs(context: EffectContext, vmId: string, input: RootfsInput): Promise<VmRootfsReady> {
  const { spec, origin } = input;
  const slot = context.slots.takenBy(vmId);
  if (slot === undefined) throw new AgentError('internal', `${vmId} has no network slot`);
  const files = context.files.sandbox(vmId);
  const owner = userOf(slot);
  await mkdir(files.folder, { recursive: true, mode: 0o711 });
  const disk = await context.times.measure(vmId, 'rootfs', async () => {
    if (origin !== null) return context.snapshots.reading(origin, () => adopt(context, files, origin, owner));
    const diskSpec = { template: spec.template, sizeMb: spec.disk_size_mb, owner };
    const made = await context.rootfs.create(files, diskSpec);
    const needs = { ...context.vmm.needs };
    const { template, vcpus, memory_mb, disk_size_mb } = spec;
    const lineage = { version: 1 as const, template, vcpus, memory_mb, disk_size_mb, generations: [], needs };
    await writeWhole(files.lineage, { ...lineage, layers: [...made.layers], thaw_key: null } satisfies Lineage);
    return made;
  });
  return { type: 'ROOTFS_READY', disk: { path: disk.path, format: context.rootfs.name } };
}

async function adopt(context: EffectContext, files: SandboxFiles, origin: VmOrigin, owner: number): Promise<Disk> {
  const manifest = await context.snapshots.check(origin);
  const from = context.snapshots.folderOf(origin);
  for (const name of [MEMORY, 'devices', ...manifest.generations]) {
    await rm(files.at(name), { force: true });
    await link(from.at(name), files.at(name));
  }
  await rm(files.at(WORKING_SET), { force: true });
  await link(from.at(WORKING_SET), files.at(WORKING_SET)).catch((error: NodeJS.ErrnoException) => {
    if (error.code !== 'ENOENT') throw error; // only a hint
  });
  const source = { files: from, layers: manifest.layers };
  const disk = await context.rootfs.restore(files, source, { owner, sizeMb: manifest.disk_size_mb });
  const { version, template, vcpus, memory_mb, disk_size_mb, generations, needs, thaw_key } = manifest;
  const facts = { version, template, vcpus, memory_mb, disk_size_mb, generations, needs, thaw_key };
  await writeWhole(files.lineage, { ...facts, layers: [...disk.layers] } satisfies Lineage);
  return disk;
}

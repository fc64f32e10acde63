import { readdir, rename, rm } from 'node:fs/promises';
import type { PublishInput, SnapshotInfo, VmPublished } from '@wrenn/actors';
import { DISK_DEVICE, DISK_ID, layerName, MEMORY, type SandboxFiles, WORKING_SET } from '../files.ts';
import { chainOf, filesOf, infoOf, nextGeneration, sizesOf } from '../snapshots/frozen.ts';
import { type Lineage, type Manifest, readLineage, readManifest, writeWhole } from '../snapshots/manifest.ts';
import { GENERATIONS_BEFORE_MERGE, mergeGenerations } from '../snapshots/memory.ts';
import { readSaved, type Saved } from '../snapshots/saved.ts';
import type { EffectContext } from './context.ts';

/** `vm.publish`: what was saved becomes a snapshot, whole and durable (I2, SN5). */
export async function publish(
  context: EffectContext,
  vmId: string,
  input: PublishInput,
  signal: AbortSignal,
): Promise<VmPublished> {
  const snapshot = await context.times.measure(vmId, 'publish', () => {
    if (input.purpose === 'boot') return publishBoot(context, vmId, input, signal);
    if (input.branch === null) return publishPause(context, vmId, signal);
    return publishBranch(context, vmId, input.branch, signal);
  });
  return { type: 'PUBLISHED', snapshot, timings_ms: context.times.take(vmId) };
}

/** Beside the snapshot's own files; the disk's device goes when the VMM is gone. */
const KEPT = ['manifest.json', 'console.log', 'vmm.log', 'run', WORKING_SET, DISK_DEVICE, DISK_ID] as const;

/** In the VM's own folder, of which nothing but the snapshot is kept. Found done, it is done. */
async function publishPause(context: EffectContext, vmId: string, signal: AbortSignal): Promise<SnapshotInfo> {
  const files = context.files.sandbox(vmId);
  const done = await readManifest(files).catch(() => null);
  return finish(files, done ?? (await assemblePause(context, files, signal)));
}

/** The end of a pause that is published: its manifest is there. Null: it is not. */
export async function publishedPause(context: EffectContext, vmId: string): Promise<VmPublished | null> {
  const files = context.files.sandbox(vmId);
  const manifest = await readManifest(files).catch(() => null);
  return manifest && { type: 'PUBLISHED', snapshot: await finish(files, manifest), timings_ms: {} };
}

async function finish(files: SandboxFiles, manifest: Manifest): Promise<SnapshotInfo> {
  await removeAllBut(files, new Set([...filesOf(manifest), ...KEPT]));
  return infoOf('', manifest, files);
}

async function assemblePause(context: EffectContext, files: SandboxFiles, signal: AbortSignal): Promise<Manifest> {
  signal.throwIfAborted();
  const { saving } = files;
  const lineage = await readLineage(files.lineage);
  const saved = await readSaved(saving);
  const layers = await context.rootfs.freeze(files, lineage.layers, signal);
  for (const name of ['devices', WORKING_SET, ...saved.generations.slice(-1)])
    await moveIn(saving.at(name), files.at(name));
  const generations = await merged(files, saved.generations);
  const facts = { ...lineage, generations, layers: [...layers] };
  const sources = new Map(filesOf(facts).map((name) => [name, files.at(name)]));
  const manifest = await manifestOf(facts, saved, sources, {});
  signal.throwIfAborted(); // the guest is to run on
  await writeWhole(files.manifest, manifest);
  return manifest;
}

/** In a folder of its own: links to what the VM shares with it. */
async function publishBranch(
  context: EffectContext,
  vmId: string,
  { snapshot_id: id, children }: { snapshot_id: string; children: number },
  signal: AbortSignal,
): Promise<SnapshotInfo> {
  const files = context.files.sandbox(vmId);
  const { saving } = files;
  const lineage = await readLineage(files.lineage);
  const saved = await readSaved(saving);
  const frozen = await context.rootfs.freeze(files, saved.layers ?? lineage.layers, signal);
  const layers = frozen.map((_, index) => layerName(index));
  const facts = { ...lineage, generations: [...saved.generations], layers };
  const last = saved.generations.at(-1);
  const sources = new Map<string, string>(
    filesOf(facts).map((name) => {
      const isNew = name === 'devices' || name === last || (name === MEMORY && saved.flat === true);
      return [name, isNew ? saving.at(name) : files.at(name)];
    }),
  );
  for (const [index, name] of frozen.entries()) sources.set(layerName(index), files.at(name));
  const manifest = await manifestOf(facts, saved, sources, { ephemeral: children > 0 });
  signal.throwIfAborted(); // whoever asked has been told that there is none
  const published = await context.snapshots.publish(id, manifest, sources);
  await rm(saving.folder, { recursive: true, force: true });
  for (const name of frozen) if (!lineage.layers.includes(name)) await rm(files.at(name), { force: true });
  return infoOf(id, published, context.files.snapshot(id));
}

/** The boot snapshot of a template and size class. Its base was written by the VMM, which must be gone before it counts. */
async function publishBoot(
  context: EffectContext,
  vmId: string,
  input: PublishInput,
  signal: AbortSignal,
): Promise<SnapshotInfo> {
  const id = input.sandbox_id;
  const files = context.files.sandbox(vmId);
  await context.vmm.destroy({ pid: input.vmm.pid, startTime: input.vmm.start_time });
  const there = await context.snapshots.find(id);
  if (there !== null) return infoOf(id, there, context.files.snapshot(id));
  const lineage = await readLineage(files.lineage);
  const saved = await readSaved(files.saving);
  await context.vmm.publishBase(files, input.spec.memory_mb);
  const layers = await context.rootfs.freeze(files, lineage.layers, signal);
  const facts = { ...lineage, layers: [...layers] };
  const sources = new Map(
    filesOf(facts).map((name) => [name, name === 'devices' ? files.saving.at(name) : files.at(name)]),
  );
  const madeOf = await context.templates.madeOf(input.spec);
  const manifest = await manifestOf(facts, saved, sources, { madeOf });
  const published = await context.snapshots.publish(id, manifest, sources);
  return infoOf(id, published, context.files.snapshot(id));
}

async function manifestOf(
  facts: Lineage,
  saved: Saved,
  sources: ReadonlyMap<string, string>,
  { ephemeral = false, madeOf = null }: { ephemeral?: boolean; madeOf?: string | null },
): Promise<Manifest> {
  return {
    ...facts,
    needs: { ...facts.needs },
    thaw_key: saved.thaw_key,
    devices_sha256: saved.devices_sha256,
    freeze_ms: Math.round(saved.freeze_ms * 100) / 100,
    sizes: await sizesOf(sources),
    made_at: new Date().toISOString(),
    ephemeral,
    made_of: madeOf,
  };
}

/** SN3: too many generations become one. The files that they were stay until the manifest without them is there. */
async function merged(files: SandboxFiles, generations: readonly string[]): Promise<string[]> {
  if (generations.length < GENERATIONS_BEFORE_MERGE) return [...generations];
  const name = nextGeneration(generations);
  await mergeGenerations(chainOf(files, { generations: [...generations] }), files.folder, name);
  return [name];
}

/** Found moved, by an attempt that was cut short, it is moved. */
async function moveIn(from: string, to: string): Promise<void> {
  await rename(from, to).catch((error: NodeJS.ErrnoException) => {
    if (error.code !== 'ENOENT') throw error;
  });
}

async function removeAllBut(files: SandboxFiles, kept: ReadonlySet<string>): Promise<void> {
  for (const name of await readdir(files.folder)) {
    if (!kept.has(name)) await rm(files.at(name), { recursive: true, force: true });
  }
}

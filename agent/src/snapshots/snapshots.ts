import { createHash } from 'node:crypto';
import { link, mkdir, readdir, readFile, rename, rm, stat } from 'node:fs/promises';
import type { SnapshotInfo, VmOrigin } from '@wrenn/actors';
import type { Logger } from '@wrenn/core';
import { Serial } from '../effects/serial.ts';
import { AgentError } from '../errors.ts';
import { type AgentFiles, type FrozenFiles, layerName, MEMORY } from '../files.ts';
import type { Vmm } from '../vmm/vmm.ts';
import { copyBase } from './copy-base.ts';
import { FirstTouches } from './first-touches.ts';
import { filesOf, infoOf, sizesOf } from './frozen.ts';
import { type Manifest, readLineage, readManifest, syncFolder, writeWhole } from './manifest.ts';

/** Time that the children of a fork have to be started from what was made for them. */
const EPHEMERAL_GRACE_MS = 3_600_000;
const ASIDE = '.new';
/** Made for one image, deleted with the call that makes the image. */
export const FOR_IMAGE = 'flatten-';

/** The snapshots of this host: `snapshots/<id>/`. */
export class Snapshots {
  readonly #files: AgentFiles;
  readonly #vmm: Vmm;
  readonly #log: Logger;
  /** Linking from a snapshot and deleting it do not overlap. */
  readonly #serial = new Serial();
  readonly firstTouches: FirstTouches;

  constructor(files: AgentFiles, vmm: Vmm, log: Logger) {
    this.firstTouches = new FirstTouches(files, log, (origin, work) => this.reading(origin, work));
    this.#files = files;
    this.#vmm = vmm;
    this.#log = log;
  }

  folderOf(origin: VmOrigin): FrozenFiles {
    return origin.kind === 'snapshot' ? this.#files.snapshot(origin.snapshot_id) : this.#files.sandbox(origin.vm_id);
  }

  /**
   * What lies there, if it can be started from here: `snapshot_not_found`, `snapshot_damaged` or `snapshot_incompatible`
   * (SN12) otherwise. The bytes of memory are checked as they are read.
   */
  async check(origin: VmOrigin): Promise<Manifest> {
    const files = this.folderOf(origin);
    const manifest = await readManifest(files);
    const refusal = await this.#vmm.refusal(manifest.needs);
    if (refusal !== null) throw new AgentError('snapshot_incompatible', `the snapshot cannot run here: ${refusal}`);
    for (const name of filesOf(manifest)) {
      const size = await sizeOf(files.at(name));
      if (size !== manifest.sizes[name]) throw damaged(size === null ? `${name} is missing` : `${name} was changed`);
    }
    const digest = createHash('sha256').update(await readFile(files.devices));
    if (digest.digest('hex') !== manifest.devices_sha256) throw damaged('the state of its devices was changed');
    return manifest;
  }

  /** The manifest of a snapshot, or null. */
  async find(id: string): Promise<Manifest | null> {
    try {
      return await readManifest(this.#files.snapshot(id));
    } catch (error) {
      if (error instanceof AgentError && error.code === 'snapshot_not_found') return null;
      throw error;
    }
  }

  /** Work that reads files of an origin and must not meet its end half-way. */
  reading<Result>(origin: VmOrigin, work: () => Promise<Result>): Promise<Result> {
    return this.#serial.run(keyOf(origin), work);
  }

  /**
   * Publishes a snapshot: `sources` gives for each file of the manifest the one to link. Whole and durable when it
   * resolves (I2); an earlier one with the id is the same, and stays.
   */
  publish(id: string, manifest: Manifest, sources: ReadonlyMap<string, string>): Promise<Manifest> {
    return this.#serial.run(keyOf({ kind: 'snapshot', snapshot_id: id }), async () => {
      const there = await this.find(id);
      if (there !== null) return there;
      const target = this.#files.snapshot(id);
      const aside = this.#files.snapshot(id + ASIDE);
      await rm(aside.folder, { recursive: true, force: true });
      await rm(target.folder, { recursive: true, force: true }); // without a manifest it is none
      await mkdir(aside.folder, { mode: 0o711 });
      for (const [name, source] of sources) await link(source, aside.at(name));
      await writeWhole(aside.manifest, manifest);
      await rename(aside.folder, target.folder);
      await syncFolder(this.#files.snapshots);
      return manifest;
    });
  }

  /** A snapshot of a paused VM: links to its files. */
  async copy(vmId: string, id: string, ephemeral: boolean): Promise<SnapshotInfo> {
    const origin = { kind: 'paused', vm_id: vmId } as const;
    const published = await this.reading(origin, async () => {
      const manifest = await this.check(origin);
      const files = this.folderOf(origin);
      const layers = manifest.layers.map((_, index) => layerName(index));
      const sources = new Map([MEMORY, 'devices', ...manifest.generations].map((name) => [name, files.at(name)]));
      for (const [index, name] of manifest.layers.entries()) sources.set(layerName(index), files.at(name));
      const made_at = new Date().toISOString();
      const copy = { ...manifest, layers, sizes: await sizesOf(sources), made_at, ephemeral };
      return this.publish(id, copy, sources);
    });
    return infoOf(id, published, this.#files.snapshot(id));
  }

  /** A copy with a base of its own: what starts from it shares no page of memory with what starts from the other one. */
  async separate(from: string, id: string, madeOf: string): Promise<void> {
    const origin = { kind: 'snapshot', snapshot_id: from } as const;
    await this.reading(origin, async () => {
      const manifest = await this.check(origin);
      const files = this.folderOf(origin);
      const base = this.#files.snapshot(`${id}.base${ASIDE}`);
      await rm(base.folder, { recursive: true, force: true });
      await mkdir(base.folder, { mode: 0o700 });
      try {
        await copyBase(files, base, manifest.memory_mb);
        const sources = new Map(filesOf(manifest).map((name) => [name, files.at(name)]));
        sources.set(MEMORY, base.memory);
        const made_at = new Date().toISOString();
        await this.publish(id, { ...manifest, sizes: await sizesOf(sources), made_at, made_of: madeOf }, sources);
      } finally {
        await rm(base.folder, { recursive: true, force: true });
      }
    });
  }

  /** One that is not there is fine. Whoever was started from it has links of his own. */
  delete(id: string): Promise<void> {
    const origin = { kind: 'snapshot', snapshot_id: id } as const;
    return this.#serial.run(keyOf(origin), async () => {
      const { folder, manifest } = this.#files.snapshot(id);
      await rm(manifest, { force: true });
      await rm(folder, { recursive: true, force: true });
    });
  }

  async ids(): Promise<string[]> {
    return (await readdir(this.#files.snapshots)).filter((name) => !name.endsWith(ASIDE));
  }

  /**
   * Removes what nobody needs: forks whose children had their time, boot snapshots for which `isCurrent` says no, what a
   * deletion has left, and what was never finished (`atStart` only: nothing is being made then). A named one whose manifest
   * cannot be read stays, for inspection.
   */
  async sweep(isCurrent: (manifest: Manifest) => Promise<boolean>, atStart: boolean): Promise<void> {
    for (const name of await readdir(this.#files.snapshots)) {
      const unfinished = name.endsWith(ASIDE) || name.startsWith(FOR_IMAGE);
      if (unfinished && !atStart) continue;
      const reason = unfinished ? 'it was never finished' : await this.#uselessness(name, isCurrent);
      if (reason === null) continue;
      this.#log.info({ snapshot: name, reason }, 'a snapshot is removed');
      await this.delete(name);
    }
  }

  async #uselessness(id: string, isCurrent: (manifest: Manifest) => Promise<boolean>): Promise<string | null> {
    const manifest = await this.find(id).catch(() => undefined);
    if (manifest === null) return 'its deletion was not finished'; // which takes the manifest first
    if (manifest === undefined) return id.startsWith('boot.') ? 'it is not whole' : null;
    const age = Date.now() - Date.parse(manifest.made_at);
    if (manifest.ephemeral && age > EPHEMERAL_GRACE_MS) return 'the starts that it was made for are over';
    if (manifest.made_of !== null && !(await isCurrent(manifest))) return 'what it was made of has changed';
    return null;
  }

  /** Digests of the VMMs that some snapshot, or a VM that was restored from one, needs. */
  async neededVmms(): Promise<Set<string>> {
    const needed = new Set<string>();
    const { snapshots, sandboxes } = this.#files;
    const paths = [
      ...(await readdir(snapshots)).map((name) => this.#files.snapshot(name).manifest),
      ...(await readdir(sandboxes)).flatMap((name) => {
        const { manifest, lineage } = this.#files.sandbox(name);
        return [manifest, lineage];
      }),
    ];
    for (const path of paths) {
      const facts = await readLineage(path).catch(() => null);
      if (facts?.needs.vmm_digest) needed.add(facts.needs.vmm_digest);
    }
    return needed;
  }
}

const keyOf = (origin: VmOrigin): string =>
  origin.kind === 'snapshot' ? `snapshot ${origin.snapshot_id}` : `paused ${origin.vm_id}`;

const damaged = (why: string): AgentError => new AgentError('snapshot_damaged', `the snapshot is damaged: ${why}`);

async function sizeOf(path: string): Promise<number | null> {
  try {
    return (await stat(path)).size;
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return null;
    throw error;
  }
}

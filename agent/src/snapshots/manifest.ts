import { randomBytes } from 'node:crypto';
import { open, readFile, rename } from 'node:fs/promises';
import { dirname } from 'node:path';
import { z } from 'zod';
import { AgentError } from '../errors.ts';
import type { FrozenFiles } from '../files.ts';

/** Names of files in the folder itself: a manifest never leads anywhere else. */
const fileName = z.string().regex(/^[a-z0-9][a-z0-9.-]{0,100}$/);

const facts = z.object({
  version: z.literal(1),
  /** What it was first created from; for people, and for the sweep of boot snapshots. */
  template: z.string(),
  vcpus: z.number().int(),
  memory_mb: z.number().int(),
  disk_size_mb: z.number().int(),
  /** Later generations of memory on top of the base, oldest first (SN2). */
  generations: z.array(fileName),
  /** Disk layers, oldest first; the first is the image. */
  layers: z.array(fileName),
  /** What it needs to run (SN12). */
  needs: z.record(z.string(), z.string()),
  /** Key of the freeze that the guest is in, without which nobody thaws it; null in the lineage of one that booted. */
  thaw_key: z.string().nullable(),
});

const manifest = facts.extend({
  devices_sha256: z.string(),
  /** Size of each file, so that a cut one is found before it is used. */
  sizes: z.record(fileName, z.number().int()),
  freeze_ms: z.number(),
  made_at: z.string(),
  /** Made for starts that follow at once: the sweep deletes it after a while. */
  ephemeral: z.boolean(),
  /** Of a boot snapshot: everything that it was made of. Another value now: it is out of date. */
  made_of: z.string().nullable(),
});

/** What a running VM was started from; the manifest of its next snapshot grows from it. */
export type Lineage = z.infer<typeof facts>;
/** `manifest.json`: a snapshot that is whole. */
export type Manifest = z.infer<typeof manifest>;

export function newThawKey(): string {
  return randomBytes(32).toString('hex');
}

/** The manifest of a folder, or the typed errors `snapshot_not_found` and `snapshot_damaged`. */
export async function readManifest(files: FrozenFiles): Promise<Manifest> {
  return read(files.manifest, manifest);
}

export async function readLineage(path: string): Promise<Lineage> {
  return read(path, facts);
}

async function read<Shape>(path: string, shape: z.ZodType<Shape>): Promise<Shape> {
  let text: string;
  try {
    text = await readFile(path, 'utf8');
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'ENOENT') throw error;
    throw new AgentError('snapshot_not_found', 'there is no such snapshot on this host', { cause: error });
  }
  try {
    return shape.parse(JSON.parse(text));
  } catch (cause) {
    throw new AgentError('snapshot_damaged', 'its manifest cannot be read', { cause });
  }
}

/** Written aside, made durable, renamed in: there whole or not at all. For root's eyes only. */
export async function writeWhole(path: string, value: unknown): Promise<void> {
  const file = await open(`${path}.new`, 'w', 0o600);
  try {
    await file.writeFile(`${JSON.stringify(value, null, 2)}\n`);
    await file.sync();
  } finally {
    await file.close();
  }
  await rename(`${path}.new`, path);
  await syncFolder(dirname(path));
}

/** Makes the names in a folder durable. */
export async function syncFolder(path: string): Promise<void> {
  const folder = await open(path, 'r');
  try {
    await folder.sync();
  } finally {
    await folder.close();
  }
}

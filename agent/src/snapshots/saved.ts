import { readFile, rename, rm, writeFile } from 'node:fs/promises';
import type { SavingFiles } from '../files.ts';
import { syncFolder } from './manifest.ts';

/**
 * What a pause or branch has saved in `saving/`, before it is published. The file is written when all others are there:
 * without it nothing was saved.
 */
export interface Saved {
  readonly thaw_key: string;
  readonly devices_sha256: string;
  readonly freeze_ms: number;
  /** All of memory's generations, of which the last is in `saving/` where it is new. */
  readonly generations: readonly string[];
  /** Of a branch: the layers that are frozen. */
  readonly layers?: readonly string[];
  /** Of a branch with so much changed memory that its children get a base of their own: it is in `saving/`. */
  readonly flat?: boolean;
}

export async function writeSaved(saving: SavingFiles, saved: Saved): Promise<void> {
  const path = saving.at('saved.json');
  await writeFile(`${path}.new`, JSON.stringify(saved), { mode: 0o600 });
  await rename(`${path}.new`, path);
}

export async function readSaved(saving: SavingFiles): Promise<Saved> {
  return JSON.parse(await readFile(saving.at('saved.json'), 'utf8'));
}

/** Before the guest runs on: its disk is not the one any more that belongs to what was saved. Durable. */
export async function forgetSaved(saving: SavingFiles): Promise<void> {
  try {
    await rm(saving.at('saved.json'));
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return;
    throw error;
  }
  await syncFolder(saving.folder);
}

import { readFile, rename, writeFile } from 'node:fs/promises';
import type { SavingFiles } from '../files.ts';

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

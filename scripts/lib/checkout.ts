import { mkdirSync } from 'node:fs';
import { join, resolve } from 'node:path';

/** Root folder of this checkout. */
export const CHECKOUT = resolve(import.meta.dirname, '../..');

/** Everything that is not a source: the toolchain, build stamps, logs, databases, images. Ignored by git. */
export const STATE_DIR = join(CHECKOUT, '.wrenn');

/** A folder below `.wrenn`, made when absent. */
export function stateFolder(name: string): string {
  const path = join(STATE_DIR, name);
  mkdirSync(path, { recursive: true });
  return path;
}

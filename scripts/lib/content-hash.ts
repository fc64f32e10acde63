import { createHash } from 'node:crypto';
import { readdirSync, readFileSync, statSync } from 'node:fs';
import { join } from 'node:path';

/** Folders that hold results, not sources. */
const RESULTS = new Set(['node_modules', 'target', 'target-static', '.wrenn']);

/** sha256 over names and contents of files and folders: the same hash means that nothing is to be built anew. */
export function contentHash(paths: string[]): string {
  const hash = createHash('sha256');
  for (const path of paths) {
    for (const file of filesBelow(path)) hash.update(file).update('\0').update(readFileSync(file)).update('\0');
  }
  return hash.digest('hex');
}

function filesBelow(path: string): string[] {
  const info = statSync(path, { throwIfNoEntry: false });
  if (!info) return [];
  if (!info.isDirectory()) return [path];
  const names = readdirSync(path)
    .sort()
    .filter((name) => !RESULTS.has(name) && !name.endsWith('.node'));
  return names.flatMap((name) => filesBelow(join(path, name)));
}

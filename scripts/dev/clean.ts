import { existsSync, readdirSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { down } from './down.ts';
import { stackSettings } from './settings.ts';

/** What is kept: fetching it again costs minutes and it holds no state of anyone. */
const KEPT = new Set(['node', 'cache', 'stamps']);

/** Stops everything and removes databases, sandboxes, images, logs and credentials. */
export async function clean(): Promise<number> {
  const { dir } = await stackSettings();
  await down();
  for (const name of existsSync(dir) ? readdirSync(dir) : []) {
    if (!KEPT.has(name)) rmSync(join(dir, name), { recursive: true, force: true });
  }
  console.log(`  removed the data in ${dir}`);
  return 0;
}

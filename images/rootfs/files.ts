import { cpSync, existsSync, mkdirSync } from 'node:fs';
import { basename, join } from 'node:path';
import { run } from '../../scripts/lib/run.ts';
import type { CopiedFolder } from './recipe.ts';

/** Puts a recipe's folders below `root`; safe to repeat. Python packages among them are compiled: guests start sooner. */
export async function copyFiles(root: string, folders: CopiedFolder[]): Promise<void> {
  for (const { from, to } of folders) {
    const target = join(root, to);
    mkdirSync(target, { recursive: true });
    cpSync(from, target, { recursive: true, filter: (path) => basename(path) !== '__pycache__' });
  }
  const packages = folders.filter(({ to }) => to.endsWith('dist-packages')).map(({ to }) => `/${to}`);
  if (packages.length > 0 && existsSync(join(root, 'usr/bin/python3'))) {
    await run(['chroot', root, '/usr/bin/python3', '-m', 'compileall', '-q', ...packages]);
  }
}

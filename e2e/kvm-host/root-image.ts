import { execFile, spawn } from 'node:child_process';
import { createHash } from 'node:crypto';
import { once } from 'node:events';
import { chmodSync, cpSync, existsSync, mkdirSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { fetchKernel } from '../../images/kernel/package.ts';
import { makeExt4 } from '../../images/rootfs/ext4.ts';
import { distribution, distributionSources, oneLine } from '../../scripts/lib/apt-sources.ts';

export interface BoxSystem {
  /** Root file system, never written to: runs of the box write to an overlay. */
  readonly image: string;
  readonly vmlinuz: string;
}

/** What the agent's programs call in there, the kernel's modules, and QEMU as the agent needs it. */
const PACKAGES = ['e2fsprogs', 'iproute2', 'kmod', 'procps', 'qemu-system-x86', 'qemu-utils', 'udev', 'util-linux'];
const SIZE_BYTES = 8 * 1024 ** 3;

/** PID 1: what a service manager would have mounted, then the programs of this run. */
const INIT = `#!/bin/sh
export PATH=/usr/sbin:/usr/bin:/sbin:/bin HOME=/root
mount -t proc proc /proc
mount -t sysfs sysfs /sys
mount -t devtmpfs devtmpfs /dev
mkdir -p /dev/pts /dev/shm /run /tmp
mount -t devpts devpts /dev/pts
mount -t tmpfs tmpfs /dev/shm
mount -t tmpfs tmpfs /run
mount -t tmpfs tmpfs /tmp
mount -t cgroup2 cgroup2 /sys/fs/cgroup
exec </dev/console >/dev/console 2>&1
mkdir -p /payload
mount /dev/nvme1n1 /payload && /payload/run.sh
echo "BOX EXIT $?"
sync
echo o > /proc/sysrq-trigger
sleep 60
`;

/** A Debian with the distribution's own kernel and QEMU, made once per list of packages (about two minutes). */
export async function boxSystem(cache: string, say: (line: string) => void): Promise<BoxSystem> {
  const kernel = await fetchKernel(join(cache, 'kernel'));
  const { codename } = distribution();
  const key = createHash('sha256')
    .update(JSON.stringify([PACKAGES, INIT, kernel.version, codename]))
    .digest('hex');
  const image = join(cache, `kvm-host-${key.slice(0, 12)}.ext4`);
  if (existsSync(image)) return { image, vmlinuz: kernel.vmlinuz };
  say('building the system of the box (once)');
  const root = join(cache, 'kvm-host.new');
  rmSync(root, { recursive: true, force: true });
  mkdirSync(cache, { recursive: true });
  await mmdebstrap(root, codename);
  cpSync(kernel.modules, join(root, 'lib/modules', kernel.version), { recursive: true });
  await promisify(execFile)('chroot', [root, 'depmod', kernel.version]);
  writeFileSync(join(root, 'box-init'), INIT);
  chmodSync(join(root, 'box-init'), 0o755);
  const draft = `${image}.new`;
  await makeExt4(root, draft, SIZE_BYTES);
  rmSync(root, { recursive: true, force: true });
  renameSync(draft, image);
  return { image, vmlinuz: kernel.vmlinuz };
}

/** QEMU comes from the backports where the machine has them, as the agent's own does. */
async function mmdebstrap(target: string, codename: string): Promise<void> {
  const sources = (await distributionSources()).filter(({ suite }) => suite.startsWith(codename));
  const release = sources.some(({ suite }) => suite === `${codename}-backports`) ? `${codename}-backports` : codename;
  const argv = ['--variant=minbase', '--mode=root', '--format=directory', '--quiet'];
  argv.push(`--include=${PACKAGES.join(',')}`, `--aptopt=APT::Default-Release "${release}"`);
  argv.push('--aptopt=Acquire::Languages "none"', '--aptopt=APT::Install-Recommends "false"');
  argv.push(...['man', 'doc', 'locale', 'info'].map((name) => `--dpkgopt=path-exclude=/usr/share/${name}/*`));
  argv.push(codename, target, '-');
  const child = spawn('mmdebstrap', argv, { stdio: ['pipe', 'inherit', 'inherit'] });
  child.stdin.on('error', () => undefined); // it may end before it reads; its exit code tells
  child.stdin.end(`${sources.map(oneLine).join('\n')}\n`);
  const [code] = (await once(child, 'close')) as [number | null];
  if (code !== 0) throw new Error(`mmdebstrap ended with code ${code}`);
}

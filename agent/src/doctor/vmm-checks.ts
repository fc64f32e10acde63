import { access } from 'node:fs/promises';
import { join } from 'node:path';
import { tscKhz } from '@wrenn/addon';
import type { AgentSettings } from '../config.ts';
import type { AgentFiles } from '../files.ts';
import { Images } from '../rootfs/images.ts';
import { runProgram } from '../run-program.ts';
import { findFirecracker, UNFILTERED } from '../vmm/firecracker-binary.ts';
import { readGuestKernel } from '../vmm/guest-kernel.ts';
import { nameServers } from '../vmm/name-servers.ts';
import { probeAcceleration } from '../vmm/probe-acceleration.ts';
import { probeFirecracker } from '../vmm/probe-firecracker.ts';
import { findQemu } from '../vmm/qemu-binary.ts';
import { broken, type Check, degraded, type Finding, wordsOf, works } from './finding.ts';

const INSTALL_QEMU = 'install qemu-system-x86 and qemu-utils, 8.2 or later (on Debian 12 from bookworm-backports)';
const BUILD_IMAGES =
  'run `make up` (or `node images/kernel.ts` and `node images/build.ts minimal`) with this WRENN_DIR';

/** The VMM by running a VM (AG7), and what a VM is made of. */
export function vmmChecks({ WRENN_FIRECRACKER_BIN: firecracker }: AgentSettings, files: AgentFiles): Check[] {
  return [
    { name: 'QEMU', run: (signal) => checkQemu(signal) },
    { name: 'guest kernel', run: () => checkKernel(files) },
    { name: 'images', run: () => checkImages(files) },
    { name: 'KVM', run: (signal) => checkAcceleration(files, 'kvm', signal) },
    { name: 'Firecracker', run: (signal) => checkFirecracker(firecracker, files, signal) },
    { name: 'emulation', run: (signal) => checkAcceleration(files, 'tcg', signal) },
  ];
}

async function checkQemu(signal: AbortSignal): Promise<Finding> {
  try {
    const { path, version } = await findQemu(signal);
    await runProgram('qemu-img', ['--version'], signal);
    return works(`${path} ${version}`);
  } catch (error) {
    return broken(wordsOf(error), INSTALL_QEMU);
  }
}

async function checkKernel(files: AgentFiles): Promise<Finding> {
  try {
    const { version, image, initrd } = await readGuestKernel(files.kernels);
    for (const file of [image, initrd]) await access(join(files.kernels, file));
    return works(version);
  } catch (error) {
    return broken(wordsOf(error), BUILD_IMAGES);
  }
}

async function checkImages(files: AgentFiles): Promise<Finding> {
  const names = await new Images(files.images).names().catch(() => []);
  return names.length > 0 ? works(names.join(', ')) : broken(`no image in ${files.images}`, BUILD_IMAGES);
}

/** One that is not there is no fault: QEMU does the same. */
async function checkFirecracker(named: string | undefined, files: AgentFiles, signal: AbortSignal): Promise<Finding> {
  const remedy = 'or leave it out, and QEMU runs the VMs';
  try {
    const found = await findFirecracker(named, signal);
    if (found === null) return works('not installed: QEMU runs the VMs');
    const [khz, servers, kernel] = await Promise.all([tscKhz(), nameServers(), readGuestKernel(files.kernels)]);
    const probe = await probeFirecracker(found.path, files, { tscKhz: khz, kernel, nameServers: servers }, signal);
    if (!probe.works)
      return degraded(`${found.path} runs no VM: ${probe.reason}`, `give this machine a KVM, ${remedy}`);
    if (!found.isFiltered) return degraded(`${found.path}: ${UNFILTERED}`, `use one of its releases, ${remedy}`);
    return works(`${found.path} ${found.version}: a VM ran, first words after ${Math.round(probe.milliseconds)} ms`);
  } catch (error) {
    return degraded(wordsOf(error), `install 1.10 or later, ${remedy}`);
  }
}

async function checkAcceleration(files: AgentFiles, kind: 'kvm' | 'tcg', signal: AbortSignal): Promise<Finding> {
  try {
    const [qemu, khz, servers, kernel] = await Promise.all([
      findQemu(signal),
      tscKhz(),
      nameServers(),
      readGuestKernel(files.kernels),
    ]);
    const platform = { tscKhz: khz, kernel, nameServers: servers };
    const kvm = await probeAcceleration('kvm', qemu.path, files.kernels, platform, signal);
    if (kind === 'tcg' && kvm.works) return works('not needed, since VMs run under KVM');
    const probe = kind === 'kvm' ? kvm : await probeAcceleration('tcg', qemu.path, files.kernels, platform, signal);
    if (probe.works) return works(`a VM ran, first words after ${Math.round(probe.milliseconds)} ms`);
    if (kind === 'tcg') return broken(probe.reason, INSTALL_QEMU);
    return degraded(
      `no VM runs: ${probe.reason}`,
      'VMs are emulated (slower, otherwise the same). For KVM: a bare-metal host or nested virtualisation, and kvm_intel or kvm_amd loaded',
    );
  } catch (error) {
    return broken(wordsOf(error), INSTALL_QEMU);
  }
}

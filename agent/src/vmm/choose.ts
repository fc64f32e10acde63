import { createHash } from 'node:crypto';
import { readFile } from 'node:fs/promises';
import type { Logger } from '@wrenn/core';
import { AgentError } from '../errors.ts';
import type { AgentFiles } from '../files.ts';
import { prepareDevices } from './devices.ts';
import { Firecracker } from './firecracker.ts';
import { type FirecrackerBinary, findFirecracker, UNFILTERED } from './firecracker-binary.ts';
import { readGuestKernel } from './guest-kernel.ts';
import { nameServers } from './name-servers.ts';
import { probeAcceleration } from './probe-acceleration.ts';
import { probeFirecracker } from './probe-firecracker.ts';
import { Qemu } from './qemu.ts';
import type { QemuPlatform } from './qemu-arguments.ts';
import { findQemu } from './qemu-binary.ts';
import { steadyTscKhz } from './steady-tsc.ts';
import { prepareView } from './view.ts';
import type { Vmm, VmmIdentity } from './vmm.ts';
import { keepVmm } from './vmm-folder.ts';

export interface ChooseVmmOptions {
  readonly wanted: 'auto' | 'firecracker' | 'qemu';
  /** Firecracker's program, where it is not in `PATH`. */
  readonly firecracker: string | undefined;
  readonly files: AgentFiles;
  /** Which disks the VMM's VMs are to have: the name of a store. */
  readonly disksFor: (vmm: VmmIdentity['name']) => Promise<string>;
  readonly log: Logger;
}

/**
 * VM4: the VMM of this agent, chosen by running something. `auto` is Firecracker where there is one and our guests' kernel
 * runs in it, else QEMU.
 */
export async function chooseVmm(options: ChooseVmmOptions, signal: AbortSignal): Promise<Vmm> {
  const { wanted, files, log } = options;
  const [khz, servers, kernel] = await Promise.all([
    steadyTscKhz(files.tsc),
    nameServers(),
    readGuestKernel(files.kernels),
  ]);
  const platform = { tscKhz: khz, kernel, nameServers: servers };
  await prepareView();
  if (wanted !== 'qemu') {
    const found = await usableFirecracker(options, platform, signal);
    if (typeof found !== 'string') return firecracker(found, options, platform, signal);
    if (wanted === 'firecracker') throw new AgentError('vmm_failed', `WRENN_VMM=firecracker: ${found}`);
    log.info({ reason: found }, 'no Firecracker');
  }
  return qemu(options, platform, signal);
}

type Platform = Omit<QemuPlatform, 'acceleration'>;

/** Or why there is none. */
async function usableFirecracker(
  { firecracker: named, files }: ChooseVmmOptions,
  platform: Platform,
  signal: AbortSignal,
): Promise<FirecrackerBinary | string> {
  const binary = await findFirecracker(named, signal);
  if (binary === null) return 'there is no firecracker in PATH, and WRENN_FIRECRACKER_BIN names none';
  const probe = await probeFirecracker(binary.path, files, platform, signal);
  return probe.works ? binary : `${binary.path} does not run our guests' kernel: ${probe.reason}`;
}

async function firecracker(
  binary: FirecrackerBinary,
  { files, disksFor, log }: ChooseVmmOptions,
  platform: Platform,
  signal: AbortSignal,
): Promise<Vmm> {
  const { digest } = await keepVmm('firecracker', binary.path, files.vmms, signal);
  if (!binary.isFiltered) log.warn({ path: binary.path }, UNFILTERED);
  return new Firecracker({
    identity: { name: 'firecracker', version: binary.version, digest, acceleration: 'kvm' },
    cpu: `host ${await hostCpu()}`,
    platform,
    files,
    devices: await prepareDevices(files.devices, ['urandom', 'tun', 'kvm', 'userfaultfd'], signal),
    disks: await disksFor('firecracker'),
  });
}

async function qemu({ files, disksFor, log }: ChooseVmmOptions, platform: Platform, signal: AbortSignal): Promise<Vmm> {
  const binary = await findQemu(signal);
  const kvm = await probeAcceleration('kvm', binary.path, files.kernels, platform, signal);
  if (!kvm.works) log.info({ reason: kvm.reason }, 'no KVM: VMs run under emulation (TCG)');
  const acceleration = kvm.works ? 'kvm' : 'tcg';
  const { digest } = await keepVmm('qemu', binary.path, files.vmms, signal);
  return new Qemu({
    identity: { name: 'qemu', version: binary.version, digest, acceleration },
    cpu: acceleration === 'kvm' ? `host ${await hostCpu()}` : 'max',
    platform: { ...platform, acceleration },
    files,
    devices: await prepareDevices(
      files.devices,
      ['null', 'urandom', 'tun', ...(kvm.works ? (['kvm'] as const) : [])],
      signal,
    ),
    disks: await disksFor('qemu'),
  });
}

/** Model and features of the host's CPU, which a guest under KVM has seen; an emulated one is the VMM's own. */
async function hostCpu(): Promise<string> {
  const text = await readFile('/proc/cpuinfo', 'utf8');
  const field = (name: string) => new RegExp(`^${name}\\s*: (.*)$`, 'm').exec(text)?.[1] ?? '';
  const digest = createHash('sha256').update(field('flags')).digest('hex').slice(0, 16);
  return `${field('model name')} ${digest}`;
}

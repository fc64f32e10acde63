import { createHash } from 'node:crypto';
import { mkdir, readFile } from 'node:fs/promises';
import type { Logger } from '@wrenn/core';
import { AgentError } from '../errors.ts';
import type { AgentFiles } from '../files.ts';
import { prepareDevices } from './devices.ts';
import { readGuestKernel } from './guest-kernel.ts';
import { nameServers } from './name-servers.ts';
import { probeAcceleration } from './probe-acceleration.ts';
import { Qemu } from './qemu.ts';
import { findQemu } from './qemu-binary.ts';
import { steadyTscKhz } from './steady-tsc.ts';
import { seenByVmm, VMM_VIEW } from './view.ts';
import type { Vmm } from './vmm.ts';
import { keepVmm } from './vmm-folder.ts';

export interface ChooseVmmOptions {
  readonly wanted: 'auto' | 'firecracker' | 'qemu';
  readonly files: AgentFiles;
  readonly log: Logger;
}

/** VM4: the VMM of this agent, chosen by running something. */
export async function chooseVmm({ wanted, files, log }: ChooseVmmOptions, signal: AbortSignal): Promise<Vmm> {
  if (wanted === 'firecracker') {
    throw new AgentError(
      'vmm_failed',
      'WRENN_VMM=firecracker: the driver is there, but not yet the block devices that it needs as root file systems',
    );
  }
  const [qemu, khz, servers, kernel] = await Promise.all([
    findQemu(signal),
    steadyTscKhz(files.tsc),
    nameServers(),
    readGuestKernel(files.kernels),
  ]);
  const platform = { tscKhz: khz, kernel, nameServers: servers };
  const kvm = await probeAcceleration('kvm', qemu.path, files.kernels, platform, signal);
  if (!kvm.works) log.info({ reason: kvm.reason }, 'no KVM: VMs run under emulation (TCG)');
  const acceleration = kvm.works ? 'kvm' : 'tcg';
  const devices = await prepareDevices(files.devices, kvm.works ? ['tun', 'kvm'] : ['tun'], signal);
  for (const folder of [VMM_VIEW, seenByVmm.files.folder, seenByVmm.kernels, seenByVmm.vmm]) {
    await mkdir(folder, { recursive: true, mode: 0o755 });
  }
  const { digest } = await keepVmm(qemu, files.vmms, signal);
  return new Qemu({
    identity: { name: 'qemu', version: qemu.version, digest, acceleration },
    cpu: acceleration === 'kvm' ? `host ${await hostCpu()}` : 'max',
    platform: { ...platform, acceleration },
    files,
    devices,
    disks: 'qcow2',
  });
}

/** Model and features of the host's CPU, which a guest under KVM has seen; an emulated one is the VMM's own. */
async function hostCpu(): Promise<string> {
  const text = await readFile('/proc/cpuinfo', 'utf8');
  const field = (name: string) => new RegExp(`^${name}\\s*: (.*)$`, 'm').exec(text)?.[1] ?? '';
  const digest = createHash('sha256').update(field('flags')).digest('hex').slice(0, 16);
  return `${field('model name')} ${digest}`;
}

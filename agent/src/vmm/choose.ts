import { mkdir } from 'node:fs/promises';
import { tscKhz } from '@wrenn/addon';
import type { Logger } from '@wrenn/core';
import { AgentError } from '../errors.ts';
import type { AgentFiles } from '../files.ts';
import { prepareDevices } from './devices.ts';
import { readGuestKernel } from './guest-kernel.ts';
import { nameServers } from './name-servers.ts';
import { probeAcceleration } from './probe-acceleration.ts';
import { Qemu } from './qemu.ts';
import { findQemu } from './qemu-binary.ts';
import { seenByVmm, VMM_VIEW } from './view.ts';
import type { Vmm } from './vmm.ts';

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
      'WRENN_VMM=firecracker: this version of the agent has no Firecracker driver yet',
    );
  }
  const [qemu, khz, servers, kernel] = await Promise.all([
    findQemu(signal),
    tscKhz(),
    nameServers(),
    readGuestKernel(files.kernels),
  ]);
  const platform = { tscKhz: khz, kernel, nameServers: servers };
  const kvm = await probeAcceleration('kvm', qemu.path, files.kernels, platform, signal);
  if (!kvm.works) log.info({ reason: kvm.reason }, 'no KVM: VMs run under emulation (TCG)');
  const acceleration = kvm.works ? 'kvm' : 'tcg';
  const devices = await prepareDevices(files.devices, kvm.works ? ['tun', 'kvm'] : ['tun'], signal);
  for (const folder of [VMM_VIEW, seenByVmm.files.folder, seenByVmm.kernels]) {
    await mkdir(folder, { recursive: true, mode: 0o755 });
  }
  return new Qemu({
    binary: qemu.path,
    identity: { name: 'qemu', version: qemu.version, digest: qemu.digest, acceleration },
    platform: { ...platform, acceleration },
    files,
    devices,
  });
}

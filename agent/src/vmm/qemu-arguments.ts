import { join } from 'node:path';
import type { GuestKernel } from './guest-kernel.ts';
import { DISK_OPTIONS } from './session.ts';
import { seenByVmm } from './view.ts';
import type { MachineSpec } from './vmm.ts';

/** NET1: the guest's own network looks the same in every sandbox, so that a snapshot loads anywhere. */
const GUEST_ADDRESS = '169.254.0.21';
const GUEST_GATEWAY = '169.254.0.22';
const GUEST_NETMASK = '255.255.255.252';
export const GUEST_MAC = '02:FC:00:00:00:05';
export const TAP = 'tap0';

export interface QemuPlatform {
  readonly acceleration: 'kvm' | 'tcg';
  /** The host's TSC frequency. Without it a guest's calibration fails on a busy machine and its boot hangs. */
  readonly tscKhz: number;
  readonly kernel: GuestKernel;
  /** Name servers for the guests: they cannot reach the host's own. At most two are used. */
  readonly nameServers: readonly string[];
}

/** Kernel command line: what the kernel's manifest asks for, the host's TSC frequency, and the static address (VM5). */
export function kernelArguments(hostname: string, platform: QemuPlatform): string {
  const dns = platform.nameServers.slice(0, 2).join(':');
  const ip = `${GUEST_ADDRESS}::${GUEST_GATEWAY}:${GUEST_NETMASK}:${hostname}:eth0:off:${dns}`;
  const { arguments: always, emulatedArguments } = platform.kernel;
  const more = platform.acceleration === 'tcg' ? ` ${emulatedArguments}` : '';
  return `${always}${more} tsc_early_khz=${platform.tscKhz} ip=${ip}`;
}

/** What every QEMU of ours is started with, whatever it is for. */
export function baseArguments(platform: QemuPlatform, memoryMb: number): string[] {
  const machine = 'microvm,acpi=on,rtc=on,pit=off,pic=off,mem-merge=off,suppress-vmdesc=on';
  return [
    ...['-nodefaults', '-no-user-config', '-no-reboot', '-display', 'none'],
    ...['-M', `${machine},memory-backend=ram`, '-m', `${memoryMb}`],
    ...(platform.acceleration === 'kvm'
      ? ['-accel', 'kvm', '-cpu', 'host']
      : ['-accel', 'tcg,thread=multi', '-cpu', 'max']),
  ];
}

/** What is raw is a block device. */
const FILE_DRIVER = { qcow2: 'file', raw: 'host_device' } as const;

/**
 * QEMU microvm (design.md §5). Guest memory is a private mapping of `base.mem`, so that the pages that a snapshot must
 * store are the anonymous ones; it is opened for writing by the boot of a template only, which makes it. `suppress-vmdesc`
 * and `send-configuration=off` belong to it. A frozen VM is loaded later and needs no kernel.
 */
export function qemuArguments(machine: MachineSpec, platform: QemuPlatform): string[] {
  const { files, kernels } = seenByVmm;
  const { kernel } = platform;
  const backing = machine.start === 'template' ? 'share=on' : 'share=off,readonly=on,rom=off';
  const { name: disk, format } = machine.drive;
  const options = Object.entries(DISK_OPTIONS).map(([name, value]) => `${name}=${value}`);
  return [
    ...baseArguments(platform, machine.memoryMb),
    ...['-L', join(seenByVmm.vmm, 'share')],
    ...['-name', `wrenn-${machine.vmId}`, '-smp', `${machine.vcpus}`],
    ...['-global', 'migration.send-configuration=off'],
    '-object',
    `memory-backend-file,id=ram,size=${machine.memoryMb}M,mem-path=${files.memory},${backing}`,
    ...(machine.start === 'frozen'
      ? ['-S', '-incoming', 'defer']
      : [
          ...['-kernel', join(kernels, kernel.image), '-initrd', join(kernels, kernel.initrd)],
          ...['-append', kernelArguments(machine.hostname, platform)],
        ]),
    ...['-chardev', `file,id=console,path=${files.console},append=on`, '-serial', 'chardev:console'],
    ...['-chardev', `socket,id=control,path=${files.qmp},server=on,wait=off`, '-mon', 'chardev=control,mode=control'],
    ...['-chardev', `socket,id=events,path=${files.events},server=on,wait=off`, '-mon', 'chardev=events,mode=control'],
    '-blockdev',
    [
      `driver=${format}`,
      `node-name=${disk}`,
      ...options,
      `file.driver=${FILE_DRIVER[format]}`,
      `file.filename=${files.at(disk)}`,
    ].join(','),
    ...['-device', `virtio-blk-device,drive=${disk}`],
    ...['-netdev', `tap,id=net,ifname=${TAP},script=no,downscript=no`],
    ...['-device', `virtio-net-device,netdev=net,mac=${GUEST_MAC}`],
    ...['-object', 'rng-random,id=entropy,filename=/dev/urandom', '-device', 'virtio-rng-device,rng=entropy'],
    ...['-sandbox', 'on,obsolete=deny,elevateprivileges=deny,spawn=deny,resourcecontrol=allow'],
  ];
}

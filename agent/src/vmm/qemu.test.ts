import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { processSpawn, processStat } from '@wrenn/addon';
import { expect, test } from 'vitest';
import { AgentFiles } from '../files.ts';
import { userOf } from '../slots/names.ts';
import { markOf } from './processes.ts';
import { Qemu } from './qemu.ts';
import { kernelArguments, qemuArguments } from './qemu-arguments.ts';

const kernel = {
  version: '6.1',
  digest: 'd',
  arguments: 'console=ttyS0 quiet',
  emulatedArguments: 'mitigations=off',
  image: 'vmlinux',
  initrd: 'initrd',
} as const;
const platform = {
  acceleration: 'tcg',
  tscKhz: 2_400_000,
  kernel,
  nameServers: ['9.9.9.9', '1.1.1.1', '8.8.8.8'],
} as const;

function driver(root: string): Qemu {
  const identity = { name: 'qemu', version: '10.0', digest: 'd', acceleration: 'tcg' } as const;
  return new Qemu({ identity, cpu: 'max', platform, files: new AgentFiles(root), devices: [], disks: 'qcow2' });
}

test('design §5: the TSC frequency is given, and the rules of snapshots are in the arguments', () => {
  expect(kernelArguments('box', platform)).toBe(
    'console=ttyS0 quiet mitigations=off tsc_early_khz=2400000 ' +
      'ip=169.254.0.21::169.254.0.22:255.255.255.252:box:eth0:off:9.9.9.9:1.1.1.1',
  );
  expect(kernelArguments('box', { ...platform, acceleration: 'kvm' })).not.toContain('mitigations=off');
  const files = new AgentFiles('/tmp/x').sandbox('sb.1');
  const machine = { vmId: 'sb.1', files, vcpus: 2, memoryMb: 512, hostname: 'box', slot: 7 };
  const argumentsOf = (start: 'kernel' | 'template' | 'frozen', format: 'qcow2' | 'raw' = 'qcow2') =>
    qemuArguments({ ...machine, start, drive: { name: 'disk-3', format }, vmmDigest: null }, platform).join(' ');
  const args = argumentsOf('frozen');
  for (const part of [
    'pit=off,pic=off',
    'suppress-vmdesc=on',
    'mem-merge=off',
    '-no-reboot',
    'share=off,readonly=on,rom=off',
  ]) {
    expect(args).toContain(part);
  }
  expect(args).toContain('-smp 2');
  expect(args).toContain('-S -incoming defer');
  expect(args).toContain('file.filename=/run/wrenn/vm/disk-3');
  expect(argumentsOf('frozen', 'raw')).toContain('file.driver=host_device');
  expect(args).not.toContain('-kernel'); // a restore needs none
  // The only one that may write the file which others map.
  expect(argumentsOf('template')).toContain('share=on');
  for (const start of ['kernel', 'frozen'] as const) expect(argumentsOf(start)).toContain('readonly=on');
  expect(args).not.toContain('/tmp/x'); // the VMM sees its folder by a mount
});

test('VM3: after another boot of the machine a foreign process may have a VMM’s pid and start time: it is left alone', async () => {
  const foreign = spawn('sleep', ['60'], { stdio: 'ignore' });
  try {
    const pid = foreign.pid ?? 0;
    const process = { pid, startTime: (await processStat(pid))?.startTime ?? 0 };
    const folder = new AgentFiles('/tmp/x').sandbox('sb.1');
    expect(await driver('/tmp/x').adopt(process, folder, AbortSignal.timeout(5_000))).toBe('gone');
    await driver('/tmp/x').destroy(process);
    expect(foreign.exitCode ?? foreign.signalCode).toBeNull();
  } finally {
    foreign.kill('SIGKILL');
    await once(foreign, 'exit');
  }
});

test('VM2: a process of ours is found by its mark, and ended; its end is told once', async () => {
  const root = await mkdtemp(join(tmpdir(), 'wrenn-qemu-'));
  const vmm = driver(root);
  const user = userOf(9_245);
  const env = markOf(root, 'sb.1');
  const process = await processSpawn({ argv: ['/bin/sleep', '60'], env, uid: user, gid: user });
  try {
    expect([...(await vmm.running())]).toEqual([['sb.1', process]]);
    await vmm.destroy(process);
    await vmm.destroy(process); // gone is fine
    expect(await vmm.running()).toEqual(new Map());
    const exit = await new Promise((resolve) => vmm.watch(process, resolve));
    expect(exit).toEqual({ code: null, signal: 15 });
  } finally {
    await rm(root, { recursive: true });
  }
});

import { existsSync } from 'node:fs';
import { copyFile, mkdir, mkdtemp, open, readFile, rename, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { diffPublish, processWatch, slotCreate, slotRemove, tscKhz, uffdListen } from '@wrenn/addon';
import { expect, test } from 'vitest';
import { AgentFiles, layerName } from '../files.ts';
import { runProgram } from '../run-program.ts';
import { userOf } from '../slots/names.ts';
import { removeCgroup } from './cgroup.ts';
import { prepareDevices } from './devices.ts';
import { Firecracker, FirecrackerSession, memorySocket, savedMemory } from './firecracker.ts';
import { findFirecracker, keepFirecracker } from './firecracker-binary.ts';
import { readGuestKernel } from './guest-kernel.ts';
import type { MachineSpec, VmmProcess } from './vmm.ts';

const BUILT = resolve(process.env.WRENN_DIR ?? join(import.meta.dirname, '../../../.wrenn/lib'));
const SLOT = 6_790;
const MEMORY_MB = 256;
const MIB = 1 << 20;
const signal = new AbortController().signal;

const binary = await findFirecracker(process.env.WRENN_FIRECRACKER_BIN, signal);
const missing =
  binary === null
    ? 'there is no firecracker in PATH, and WRENN_FIRECRACKER_BIN names none'
    : !existsSync('/dev/kvm')
      ? 'this machine has no /dev/kvm'
      : !existsSync(join(BUILT, 'images/minimal.ext4'))
        ? 'kernel and image are not built'
        : null;
if (missing !== null) console.log(`skipped: Firecracker, since ${missing}`);

test.skipIf(missing !== null)(
  'VM1, VM2, SN6: a VM boots, is frozen with its dirty pages, ends, and runs on from them, served on demand',
  async () => {
    if (binary === null) return;
    const root = await mkdtemp(join(tmpdir(), 'wrenn-fc-'));
    const files = new AgentFiles(root);
    await files.prepare();
    await mkdir(files.kernels);
    for (const name of ['vmlinux', 'initrd', 'kernel.json'])
      await copyFile(join(BUILT, 'kernels', name), join(files.kernels, name));
    await keepFirecracker(binary, files.vmms);
    const driver = new Firecracker({
      identity: { name: 'firecracker', version: binary.version, digest: binary.digest, acceleration: 'kvm' },
      cpu: 'host',
      platform: { tscKhz: await tscKhz(), kernel: await readGuestKernel(files.kernels), nameServers: [] },
      files,
      devices: await prepareDevices(files.devices, ['tun', 'kvm'], signal),
    });
    const { hostIp } = await slotCreate({ index: SLOT, tapOwnerUid: userOf(SLOT) });
    let process: VmmProcess | null = null;
    try {
      const vm = files.sandbox('fc.1');
      await mkdir(vm.folder);
      const disk = vm.at(layerName(0));
      await runProgram('cp', ['--sparse=always', '--reflink=auto', join(BUILT, 'images/minimal.ext4'), disk], signal);
      await runProgram('chown', [`${userOf(SLOT)}`, disk], signal);
      const memory = await open(vm.memory, 'wx', 0o444);
      await memory.truncate(MEMORY_MB * MIB);
      await memory.close();
      const machine: MachineSpec = {
        ...{ vmId: 'fc.1', files: vm, vcpus: 1, memoryMb: MEMORY_MB, hostname: 'fc', slot: SLOT },
        ...{ start: 'kernel', topLayer: 0, vmmDigest: null },
      };
      process = await driver.boot(machine, signal);
      await expect.poll(() => readFile(vm.console, 'utf8'), { timeout: 60_000 }).toContain('wrenn-init: ready');
      expect(await driver.adopt(process, vm, signal)).toBe('running');
      expect([...(await driver.running()).keys()]).toEqual(['fc.1']);
      await healthy(hostIp);

      const session = new FirecrackerSession(vm);
      await session.stop(signal);
      await session.save(signal);
      expect(await session.status(signal)).toBe('stopped');
      await diffPublish(savedMemory(vm), { chain: [vm.memory], dir: vm.folder, name: '1.gen' });
      await rename(vm.devicesInRun, vm.devices);
      await driver.destroy(process);
      expect(await driver.adopt(process, vm, signal)).toBe('gone');

      process = await driver.boot({ ...machine, start: 'frozen' }, signal);
      const { pid, startTime } = process;
      const chain = [vm.memory, vm.at('1.gen')];
      const server = await uffdListen({ socket: memorySocket(vm), pid, startTime, uid: userOf(SLOT), chain });
      expect(await session.status(signal)).toBe('waiting');
      await session.load(signal);
      await session.continue(signal);
      expect(await session.status(signal)).toBe('running');
      await healthy(hostIp);
      expect(server.stats().faults).toBeGreaterThan(0);
      const ended = new Promise((done) => processWatch(pid, startTime, done));
      await driver.destroy(process);
      await ended;
      expect((await server.ended()).reason).toBe('vm_ended');
    } finally {
      if (process !== null) await driver.destroy(process);
      await removeCgroup(SLOT);
      await slotRemove({ index: SLOT });
      await rm(root, { recursive: true, force: true });
    }
  },
  180_000,
);

async function healthy(hostIp: string): Promise<void> {
  const health = () => fetch(`http://${hostIp}:49983/health`).then(({ status }) => status);
  await expect.poll(health, { timeout: 30_000 }).toBe(204);
}

import { existsSync } from 'node:fs';
import { copyFile, mkdir, mkdtemp, readdir, readFile, rename, rm } from 'node:fs/promises';
import { get } from 'node:http';
import { constants, tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { kill } from 'node:process';
import { networkPrepare, networkRemove, processAlive, slotCreate, slotRemove, tscKhz } from '@wrenn/addon';
import { expect, test } from 'vitest';
import { AgentFiles, layerName, WORKING_SET } from '../files.ts';
import { runProgram } from '../run-program.ts';
import { userOf } from '../slots/names.ts';
import { removeCgroup } from './cgroup.ts';
import { prepareDevices } from './devices.ts';
import { Firecracker } from './firecracker.ts';
import { findFirecracker } from './firecracker-binary.ts';
import { readGuestKernel } from './guest-kernel.ts';
import { memoryStats, saveFirstTouches } from './memory-server.ts';
import { prepareView } from './view.ts';
import type { Freezer, MachineSpec, VmmProcess } from './vmm.ts';
import { keepVmm } from './vmm-folder.ts';

const BUILT = resolve(process.env.WRENN_DIR ?? join(import.meta.dirname, '../../../.wrenn/lib'));
const SLOT = 6_790;
const SLOTS = { first: SLOT, last: SLOT };
const MEMORY_MB = 256;
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
  'VM1, VM2, SN6: a VM boots, is frozen, ends, and runs on from what it changed, served on demand, and never without a server',
  async () => {
    if (binary === null) return;
    const root = await mkdtemp(join(tmpdir(), 'wrenn-fc-'));
    const files = new AgentFiles(root);
    await files.prepare();
    await mkdir(files.kernels);
    for (const name of ['vmlinux', 'initrd', 'kernel.json'])
      await copyFile(join(BUILT, 'kernels', name), join(files.kernels, name));
    const { digest } = await keepVmm('firecracker', binary.path, files.vmms, signal);
    await prepareView();
    const driver = new Firecracker({
      identity: { name: 'firecracker', version: binary.version, digest, acceleration: 'kvm' },
      cpu: 'host',
      platform: { tscKhz: await tscKhz(), kernel: await readGuestKernel(files.kernels), nameServers: [] },
      files,
      devices: await prepareDevices(files.devices, ['urandom', 'tun', 'kvm', 'userfaultfd'], signal),
      disks: 'raw',
    });
    await networkPrepare({ slots: SLOTS });
    const { hostIp } = await slotCreate({ index: SLOT, tapOwnerUid: userOf(SLOT) });
    let process: VmmProcess | null = null;
    try {
      const vm = files.sandbox('fc.1');
      await mkdir(vm.folder);
      const disk = vm.at(layerName(0));
      await runProgram('cp', ['--sparse=always', '--reflink=auto', join(BUILT, 'images/minimal.ext4'), disk], signal);
      await runProgram('chown', [`${userOf(SLOT)}`, disk], signal);
      const machine: MachineSpec = {
        ...{ vmId: 'fc.1', files: vm, vcpus: 1, memoryMb: MEMORY_MB, hostname: 'fc', slot: SLOT },
        ...{ start: 'template', drive: { name: layerName(0), format: 'raw' }, vmmDigest: null },
      };
      process = await driver.boot(machine, signal);
      await expect.poll(() => readFile(vm.console, 'utf8'), { timeout: 240_000 }).toContain('wrenn-init: ready');
      expect(await driver.adopt(process, vm, signal)).toBe('running');
      expect([...(await driver.running()).keys()]).toEqual(['fc.1']);
      await healthy(hostIp);
      await isJailed(process.pid);

      // All that it touched becomes the base.
      await freeze('boot');
      await driver.destroy(process);
      expect(await driver.adopt(process, vm, signal)).toBe('gone');
      await driver.publishBase(vm, MEMORY_MB);
      const chain = [vm.memory];

      // From there, twice: the second time with what the first one left, and what it had touched brought in ahead.
      for (const round of [1, 2]) {
        process = await driver.boot({ ...machine, start: 'frozen' }, signal);
        expect(await driver.resume({ process, files: vm }, chain, (_, work) => work(), signal)).toBe('waiting');
        await healthy(hostIp);
        expect(await driver.adopt(process, vm, signal)).toBe('running');
        const stats = await memoryStats(vm);
        expect(stats?.faults).toBeGreaterThan(0);
        if (round === 1) {
          expect(stats?.prefetched).toBe(0);
          await saveFirstTouches(vm, root);
        } else {
          expect(stats?.prefetched).toBeGreaterThan(0);
        }
        const freezer = await freeze('pause');
        await freezer.publish(chain, vm.folder, `${round}.gen`);
        chain.push(vm.at(`${round}.gen`));
        await rename(vm.saving.at(WORKING_SET), vm.at(WORKING_SET));
        await driver.destroy(process);
      }

      // What the first one had touched until it answered is enough for others.
      await rename(join(root, WORKING_SET), vm.at(WORKING_SET));
      process = await driver.boot({ ...machine, start: 'frozen' }, signal);
      await driver.resume({ process, files: vm }, chain, (_, work) => work(), signal);
      await expect.poll(async () => (await memoryStats(vm))?.prefetched, { timeout: 60_000 }).toBeGreaterThan(0);

      // A server that ends takes its VM with it: that would hang otherwise.
      const server: VmmProcess = JSON.parse(await readFile(vm.at('faults.json'), 'utf8'));
      expect(await processAlive(server.pid, server.startTime)).toBe(true);
      const ended = new Promise((done) => driver.watch(process as VmmProcess, done));
      kill(server.pid, 'SIGKILL');
      expect(await ended).toEqual({ code: null, signal: constants.signals.SIGKILL });
      expect(await driver.adopt(process, vm, signal)).toBe('gone');

      async function freeze(purpose: 'boot' | 'pause'): Promise<Freezer> {
        if (process === null) throw new Error('there is no VMM');
        await mkdir(vm.saving.folder, { recursive: true });
        const freezer = await driver.freezer({ process, files: vm }, purpose, null, signal);
        await freezer.freeze(async () => {});
        await rename(vm.devicesInRun, vm.devices);
        return freezer;
      }
    } finally {
      if (process !== null) await driver.destroy(process);
      await removeCgroup(SLOT);
      await slotRemove({ index: SLOT });
      await networkRemove({ slots: SLOTS });
      await rm(root, { recursive: true, force: true });
    }
  },
  900_000,
);

/** It sees nothing of the host, has no rights, and each of its threads a filter for system calls (whatever that allows). */
async function isJailed(pid: number): Promise<void> {
  expect((await readdir(`/proc/${pid}/root`)).sort()).toEqual(['dev', 'run']);
  expect((await readdir(`/proc/${pid}/root/run/wrenn`)).sort()).toEqual(['kernels', 'vm', 'vmm']);
  for (const thread of await readdir(`/proc/${pid}/task`)) {
    const status = await readFile(`/proc/${pid}/task/${thread}/status`, 'utf8');
    const field = (name: string) => new RegExp(`^${name}:\\s*(.*)$`, 'm').exec(status)?.[1] ?? '';
    expect([field('NoNewPrivs'), field('Seccomp'), Number(`0x${field('CapEff')}`)]).toEqual(['1', '2', 0]);
  }
}

/** By a connection of its own: one from before a freeze leads nowhere. */
async function healthy(hostIp: string): Promise<void> {
  const health = () =>
    new Promise<number>((resolve) => {
      const call = get(`http://${hostIp}:49983/health`, { agent: false, timeout: 2_000 }, (response) => {
        response.resume();
        resolve(response.statusCode ?? 0);
      });
      call.on('timeout', () => call.destroy());
      call.on('error', () => resolve(0));
    });
  await expect.poll(health, { timeout: 240_000 }).toBe(204);
}

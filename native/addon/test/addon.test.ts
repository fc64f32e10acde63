import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import {
  cgroupCreate,
  cgroupList,
  cgroupRemove,
  cgroupUsage,
  lockFile,
  loopAttach,
  loopDetach,
  loopList,
  networkPrepare,
  networkRemove,
  type ProcessExit,
  type ProcessIdentity,
  probeKernel,
  processAlive,
  processKill,
  processSpawn,
  processStat,
  processWatch,
  slotCreate,
  slotList,
} from '../index.js';

const SLOTS = { first: 9090, last: 9094 };
const SIGKILL = 9;

const exitOf = ({ pid, startTime }: ProcessIdentity) =>
  new Promise<ProcessExit>((resolve) => processWatch(pid, startTime, resolve));

describe('the addon as the agent uses it', () => {
  let folder: string;
  beforeAll(async () => {
    folder = await mkdtemp(join(tmpdir(), 'wrenn-addon-'));
    await networkPrepare({ slots: SLOTS });
  });
  afterAll(async () => {
    await networkRemove({ slots: SLOTS });
    await rm(folder, { recursive: true });
  });

  it('runs a process inside a slot and a control group, and removes it all (NET1, VM2)', async () => {
    const slot = await slotCreate({ index: SLOTS.first, tapOwnerUid: 1234 });
    expect(slot).toMatchObject({ namespace: 'wrenn-ns-9090', hostIp: '10.11.35.130', tap: 'tap0' });
    await expect(slotCreate({ index: SLOTS.first })).rejects.toMatchObject({ code: 'slot_exists' });
    expect(await slotList(SLOTS)).toEqual([{ index: 9090, namespace: true, veth: true, route: true }]);

    const group = await cgroupCreate({ name: 'addon-test', memoryBytes: 256e6, pids: 20 });
    const stdout = join(folder, 'out');
    const child = await processSpawn({
      argv: ['/bin/sh', '-c', 'ls /sys/class/net; cat /proc/self/cgroup; id -u; exit 3'],
      env: { PATH: '/usr/bin:/bin' },
      netns: slot.namespace,
      mounts: [{ source: folder, target: '/mnt' }],
      cgroups: group.paths,
      uid: 1234,
      gid: 1234,
      stdout,
    });
    expect(await exitOf(child)).toEqual({ code: 3, signal: null });
    const said = await readFile(stdout, 'utf8');
    expect(said).toContain('/wrenn/addon-test');
    expect(said.trim().split('\n').at(-1)).toBe('1234');

    expect(await cgroupList()).toContain('addon-test');
    await cgroupRemove('addon-test');
    expect(await cgroupUsage('addon-test')).toBeNull();
    await networkRemove({ slots: SLOTS });
    expect(await slotList(SLOTS)).toEqual([]);
  });

  it('kills exactly the process that was meant (VM3)', async () => {
    const child = await processSpawn({ argv: ['/bin/sleep', '600'] });
    expect(await processAlive(child.pid, child.startTime)).toBe(true);
    expect((await processStat(child.pid))?.startTime).toBe(child.startTime);
    expect(await processKill(child.pid, child.startTime + 1, SIGKILL)).toBe(false);
    expect(await processKill(child.pid, child.startTime, SIGKILL)).toBe(true);
    expect(await exitOf(child)).toEqual({ code: null, signal: SIGKILL });
    expect(await processAlive(child.pid, child.startTime)).toBe(false);
    expect(await processKill(child.pid, child.startTime, SIGKILL)).toBe(false);
  });

  it('rejects with stable codes', async () => {
    await expect(processSpawn({ argv: ['/no/such/program'] })).rejects.toMatchObject({ code: 'not_found', errno: 2 });
    await expect(slotCreate({ index: 10_000 })).rejects.toMatchObject({ code: 'invalid_argument' });
    await expect(cgroupCreate({ name: '../up' })).rejects.toMatchObject({ code: 'invalid_argument' });
  });

  it('locks a file once', async () => {
    const path = join(folder, 'lock');
    const lock = await lockFile(path);
    await expect(lockFile(path)).rejects.toMatchObject({ code: 'locked' });
    lock.release();
    (await lockFile(path)).release();
  });

  it('makes a file a block device (FS1)', async () => {
    const path = join(folder, 'image');
    await writeFile(path, Buffer.alloc(1 << 20));
    const device = await loopAttach({ path, readonly: true });
    expect(await loopList()).toContainEqual({ device, backingFile: path });
    await loopDetach(device);
    expect((await loopList()).map((each) => each.backingFile)).not.toContain(path);
  });

  it('probes the machine and says why something does not work (AG7)', async () => {
    const found = await probeKernel();
    expect(found.namespaces).toEqual({ works: true, why: null });
    expect(found.nftables).toEqual({ works: true, why: null });
    for (const { works, why } of Object.values(found)) expect(works).toBe(why === null);
  });
});

import { execFile } from 'node:child_process';
import { readdir, readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { type MemoryCapture, memoryPrepare, processStat } from '@wrenn/addon';
import { VmStatus } from '@wrenn/proto/hostagent/v1/hostagent_pb';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { AgentFiles } from '../src/files.ts';
import { chainOf } from '../src/snapshots/frozen.ts';
import { readLineage } from '../src/snapshots/manifest.ts';
import { VmmSession } from '../src/vmm/session.ts';
import { AgentProcess, AgentRoot, codeOf, command, newSandboxId, SPEC } from './agent-process.ts';
import { GuestShell } from './guest-memory.ts';
import { journalOf } from './journal.ts';
import { endAgent, holdings } from './leaks.ts';

/** One cold boot and a dozen restores, on a busy machine with two cores. */
const TIMEOUT_MS = 300_000;
const CHILDREN = 5;

const run = promisify(execFile);
let root: AgentRoot;
let agent: AgentProcess;

beforeAll(async () => {
  root = await AgentRoot.make({ first: 9235, last: 9244 });
  agent = await AgentProcess.start(root);
}, TIMEOUT_MS);

afterAll(() => endAgent(root, agent), TIMEOUT_MS);

const create = (snapshotId = '', spec: Partial<typeof SPEC> = {}) =>
  GuestShell.create(() => agent, { snapshotId, spec });

const destroy = (guest: GuestShell, incarnation = 1) =>
  agent.client.destroySandbox({ command: command(guest.sandboxId, incarnation) });
const snapshotsOf = async () =>
  (await readdir(join(root.folder, 'snapshots'))).filter((name) => !name.startsWith('boot.'));

test(
  'SN10, SN11: five children of a running VM and the parent run on, with its memory and files, and differ where they must',
  async () => {
    const parent = await create();
    await parent.hold();
    await parent.run('echo shared > ~/file; sync');
    await parent.run('date -s @1000000000', 'root'); // a clock that is wrong at the freeze is right after the thaw
    const before = await parent.holds();
    const made = await agent.client.forkSandbox({
      ...{ command: command(parent.sandboxId), snapshotId: 'fork-1', children: CHILDREN },
    });
    expect(made.report?.status).toBe(VmStatus.READY);
    expect(made.snapshot?.freezeMs).toBeGreaterThan(0);
    await parent.run('echo parent > ~/own');
    const children = await Promise.all(
      Array.from({ length: CHILDREN }, (_, index) =>
        create('fork-1', {
          hostname: `child-${index}`,
          accessToken: `token-${index}`,
          envs: { WHO: `child ${index}` },
        }),
      ),
    );
    // Deleting what they came from, the parent included, breaks none of them (SN9).
    await agent.client.deleteSnapshot({ snapshotId: 'fork-1', epoch: 1n });
    expect(await snapshotsOf()).toEqual([]);
    await parent.holds(before);
    const parentRandom = await parent.run('cat /proc/sys/kernel/random/uuid; head -c 16 /dev/urandom | od -An -tx1');
    await destroy(parent);

    const random = new Set([parentRandom]);
    for (const [index, child] of children.entries()) {
      await child.holds(before);
      expect(await child.run('cat ~/file; ls ~/own 2>/dev/null || echo none')).toBe('shared\nnone');
      expect(await child.run('hostname; echo $WHO; cat /run/wrenn/sandbox_id')).toBe(
        `child-${index}\nchild ${index}\n${child.sandboxId}`,
      );
      random.add(await child.run('cat /proc/sys/kernel/random/uuid; head -c 16 /dev/urandom | od -An -tx1'));
      await child.run(`echo ${index} > ~/own`);
      // The clock is the host's, not the one of the freeze.
      const clock = Number(await child.run('date +%s'));
      expect(Math.abs(clock - Date.now() / 1000)).toBeLessThan(30);
    }
    expect(random.size).toBe(CHILDREN + 1);
    for (const [index, child] of children.entries()) expect(await child.run('cat ~/own')).toBe(`${index}`);
    // Network identity: inside the same, so that what was frozen fits; each has its own address on the host, none the parent's.
    const reports = await Promise.all(
      children.map(({ sandboxId }) => agent.client.inspectSandbox({ sandboxId }).then(({ report }) => report?.hostIp)),
    );
    expect(new Set(reports).size).toBe(CHILDREN);
    const inside = 'cat /sys/class/net/eth0/address; hostname -I';
    expect(new Set(await Promise.all(children.map((child) => child.run(inside)))).size).toBe(1);
    for (const child of children) await destroy(child);
  },
  TIMEOUT_MS,
);

test(
  'SN4: a page that the guest zeroed does not come back with old bytes, over pause and fork',
  async () => {
    const guest = await create();
    // A file in memory: written, paused, zeroed, paused again.
    await guest.run('mkdir -p /tmp/m; mount -t tmpfs none /tmp/m; yes marked | head -c 8388608 > /tmp/m/f', 'root');
    const { sandboxId } = guest;
    await agent.client.pauseSandbox({ command: command(sandboxId) });
    await agent.client.resumeSandbox({ command: command(sandboxId, 2), spec: SPEC, fromIncarnation: 1 });
    expect(await guest.run('grep -c marked /tmp/m/f', 'root')).not.toBe('0');
    await guest.run('dd if=/dev/zero of=/tmp/m/f bs=1M count=8 conv=notrunc 2>/dev/null', 'root');
    await agent.client.pauseSandbox({ command: command(sandboxId, 2) });
    await agent.client.resumeSandbox({ command: command(sandboxId, 3), spec: SPEC, fromIncarnation: 2 });
    const zeros = 'cmp -n 8388608 /tmp/m/f /dev/zero && echo zeros';
    expect(await guest.run(zeros, 'root')).toBe('zeros');
    await agent.client.createSnapshot({ command: command(sandboxId, 3), snapshotId: 'zeroed' });
    const child = await create('zeroed');
    expect(await child.run(zeros, 'root')).toBe('zeros');
    await destroy(child);
    await destroy(guest, 3);
    await agent.client.deleteSnapshot({ snapshotId: 'zeroed', epoch: 1n });
  },
  TIMEOUT_MS,
);

test(
  'SN14: nothing writes to the memory of a VM that stands, whatever is on its way to it and while its devices are saved',
  async () => {
    const guest = await create();
    await guest.hold();
    const files = new AgentFiles(root.folder).sandbox(`${guest.sandboxId}.1`);
    const [pid = 0] = (await holdings(root)).vmms;
    const { startTime } = (await processStat(pid)) ?? expect.unreachable();
    const { report } = await agent.client.inspectSandbox({ sandboxId: guest.sandboxId });
    const memory = await memoryPrepare({ pid, startTime, path: files.memory });
    const chain = chainOf(files, await readLineage(files.lineage));
    const written = async (capture: MemoryCapture, name: string) => {
      const buildId = '00000000-0000-4000-8000-000000000000';
      const { path } = await capture.publish({ chain, dir: files.folder, name, buildId });
      capture.close();
      return readFile(path);
    };
    const signal = AbortSignal.timeout(60_000);
    const [first, second, arrived] = await VmmSession.with(files, signal, async (session) => {
      await session.stop();
      const before = await memory.capture();
      const request = fetch(`http://${report?.hostIp}:49983/health`, { signal });
      await session.saveDevices();
      const after = await memory.capture();
      await session.continue();
      return [before, after, await request];
    });
    expect(arrived.status).toBe(204);
    expect(first.dirtyBytes).toBeGreaterThan(8 << 20);
    expect((await written(first, 'first.gen')).equals(await written(second, 'second.gen'))).toBe(true);
    memory.close();
    await guest.holds();
    await destroy(guest);
  },
  TIMEOUT_MS,
);

test(
  'SN9, SN10: a child pauses, resumes and is forked in its turn; much changed memory gives its children a flat base',
  async () => {
    const parent = await create();
    await parent.run('mkdir -p /tmp/m; mount -t tmpfs none /tmp/m; head -c 50000000 /dev/urandom > /tmp/m/f', 'root');
    const sum = await parent.run('md5sum < /tmp/m/f', 'root');
    const call = { command: command(parent.sandboxId), snapshotId: 'fork-2', children: 1 };
    const { snapshot } = await agent.client.forkSandbox(call);
    expect(snapshot?.generations).toBe(0); // a base of its own
    const child = await create('fork-2');
    expect(await child.run('md5sum < /tmp/m/f', 'root')).toBe(sum);
    const again = { command: command(child.sandboxId), snapshotId: 'fork-3', children: 1 };
    expect((await agent.client.forkSandbox(again)).snapshot?.generations).toBe(1);
    // The same id again is the same snapshot, whoever asks.
    const { snapshot: same } = await agent.client.forkSandbox({ ...again, command: command(child.sandboxId) });
    expect(same?.generations).toBe(1);
    await agent.client.pauseSandbox({ command: command(child.sandboxId) });
    await agent.client.resumeSandbox({ command: command(child.sandboxId, 2), spec: SPEC, fromIncarnation: 1 });
    expect(await child.run('md5sum < /tmp/m/f', 'root')).toBe(sum);
    const grandchild = await create('fork-3');
    expect(await grandchild.run('md5sum < /tmp/m/f', 'root')).toBe(sum);
    // The parent's own disk and memory went on.
    await parent.run('echo on > /root/on; sync', 'root');
    await agent.client.pauseSandbox({ command: command(parent.sandboxId) });
    await agent.client.resumeSandbox({ command: command(parent.sandboxId, 2), spec: SPEC, fromIncarnation: 1 });
    expect(await parent.run('cat /root/on; md5sum < /tmp/m/f', 'root')).toBe(`on\n${sum}`);
    for (const id of ['fork-2', 'fork-3']) await agent.client.deleteSnapshot({ snapshotId: id, epoch: 1n });
    await destroy(grandchild);
    await destroy(child, 2);
    await destroy(parent, 2);
  },
  TIMEOUT_MS,
);

test(
  'SN9, SN12: what starts from a snapshot has its size; one that is not there, and bad ids, are refused',
  async () => {
    const parent = await create();
    await agent.client.createSnapshot({ command: command(parent.sandboxId), snapshotId: 'size' });
    await expect(create('size', { memoryMb: 512 })).rejects.toThrow('bad_request');
    await expect(create('missing')).rejects.toThrow('snapshot_not_found');
    for (const snapshotId of ['../x', 'UPPER', 'boot.0123456789abcdef', 'x'.repeat(65)]) {
      const bad = agent.client.createSnapshot({ command: command(parent.sandboxId), snapshotId });
      expect(await bad.catch(codeOf)).toBe('invalid_id');
    }
    const none = agent.client.forkSandbox({ command: command(parent.sandboxId), snapshotId: 'none', children: 0 });
    expect(await none.catch(codeOf)).toBe('out_of_range');
    const stopped = agent.client.createSnapshot({ command: command(newSandboxId()), snapshotId: 'x' });
    expect(await stopped.catch(codeOf)).toBe('not_found');
    await destroy(parent);
    await agent.client.deleteSnapshot({ snapshotId: 'size', epoch: 1n });
    expect(await snapshotsOf()).toEqual([]);
  },
  TIMEOUT_MS,
);

test(
  'FS2: the disk of a running VM becomes an image that is whole; nothing else is left of it, and the VM runs on',
  async () => {
    const guest = await create();
    await guest.run('echo 0 > /proc/sys/vm/dirty_writeback_centisecs', 'root'); // nothing is written by itself
    await guest.run('echo running > ~/file');
    const before = await snapshotsOf();
    const image = await agent.client.flattenRootfs({ command: command(guest.sandboxId), name: 'of-running' });
    expect(Number(image.sizeBytes)).toBeLessThan(2 * 1024 ** 3);
    expect(await snapshotsOf()).toEqual(before);
    const path = join(root.folder, 'images/of-running.ext4');
    await run('e2fsck', ['-fp', path]);
    expect((await run('debugfs', ['-R', 'cat /home/user/file', path])).stdout).toBe('running\n');
    expect(await guest.run('cat ~/file')).toBe('running');
    await destroy(guest);
  },
  TIMEOUT_MS,
);

test(
  'SN11: who cannot become who it is to be is ended; what it came from stays usable, and the journal has the reason',
  async () => {
    const parent = await create();
    const { sandboxId } = parent;
    // The image's own hook decides, before any process runs on. No program of a guest of this name may do anything.
    const hook = '/etc/wrenn/resume.d/10-name';
    await parent.run(`mkdir -p /etc/wrenn/resume.d; printf '#!/bin/sh\\n[ $(hostname) != nobody ]' > ${hook}`, 'root');
    await parent.run(`chmod +x ${hook}; sync`, 'root');
    await parent.hold();
    const count = await parent.holds();
    await agent.client.createSnapshot({ command: command(sandboxId), snapshotId: 'picky' });
    await expect(create('picky', { hostname: 'nobody' })).rejects.toThrow(/guest_error.*resume hook '10-name' failed/);
    expect(await holdings(root)).toMatchObject({ vmms: [expect.any(Number)], folders: [`${sandboxId}.1`] });
    const child = await create('picky');
    await child.holds(count);

    await parent.run('date -s @1000000000', 'root');
    await agent.client.pauseSandbox({ command: command(sandboxId) });
    const resume = async (incarnation: number, hostname: string) => {
      const spec = { ...SPEC, hostname };
      const call = { command: command(sandboxId, incarnation), spec, fromIncarnation: 1 };
      return (await agent.client.resumeSandbox(call)).report;
    };
    expect(await resume(2, 'nobody')).toMatchObject({ status: VmStatus.GONE, code: 'guest_error' });
    const { report } = await agent.client.inspectSandbox({ sandboxId });
    expect(report).toMatchObject({ incarnation: 1, status: VmStatus.PAUSED });
    expect((await holdings(root)).vmms).toHaveLength(1); // the child's
    const failed = (await journalOf(agent)).find(
      ({ id, event }) => id === `${sandboxId}.2` && event.type === 'STEP_FAILED',
    );
    expect(failed?.event).toMatchObject({ step: 'restore', code: 'guest_error' });
    expect(failed?.event.message).toContain("resume hook '10-name' failed");
    expect((await resume(3, ''))?.status).toBe(VmStatus.READY);
    await parent.holds(count);
    expect(Math.abs(Number(await parent.run('date +%s')) - Date.now() / 1_000)).toBeLessThan(30);
    await agent.client.deleteSnapshot({ snapshotId: 'picky', epoch: 1n });
    await destroy(child);
    await destroy(parent, 3);
  },
  TIMEOUT_MS,
);

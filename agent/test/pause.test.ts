import { readdir, readFile, stat } from 'node:fs/promises';
import { join } from 'node:path';
import type { ConnectError } from '@connectrpc/connect';
import { type VmReport, VmStatus } from '@wrenn/proto/hostagent/v1/hostagent_pb';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { AgentProcess, AgentRoot, codeOf, command, newSandboxId, SPEC } from './agent-process.ts';
import { GuestShell } from './guest-memory.ts';
import { endAgent, holdings } from './leaks.ts';

/** One cold boot and some restores, on a busy machine with two cores. */
const TIMEOUT_MS = 240_000;
/** More than the eight at which generations and layers are merged; 50 take some two minutes. */
const CYCLES = Number(process.env.WRENN_PAUSE_CYCLES ?? 10);
const WAIT = { timeout: 20_000 };

let root: AgentRoot;
let agent: AgentProcess;

beforeAll(async () => {
  root = await AgentRoot.make({ first: 9230, last: 9234 });
  agent = await AgentProcess.start(root);
}, TIMEOUT_MS);

afterAll(() => endAgent(root, agent), TIMEOUT_MS);

const create = (sandboxId = newSandboxId()) => GuestShell.create(() => agent, { sandboxId });

async function pause(sandboxId: string, incarnation: number): Promise<VmReport> {
  const { report } = await agent.client.pauseSandbox({ command: command(sandboxId, incarnation) });
  if (report?.status !== VmStatus.PAUSED) throw new Error(`not paused: ${report?.code} ${report?.message}`);
  return report;
}

async function resume(sandboxId: string, incarnation: number, fromIncarnation = incarnation - 1): Promise<VmReport> {
  const call = { command: command(sandboxId, incarnation), spec: SPEC, fromIncarnation };
  const { report } = await agent.client.resumeSandbox(call);
  if (report === undefined) throw new Error('no report');
  return report;
}

test(
  'SN1–SN3, SN5: many pauses in a row keep a process, its memory and its files; what is stored stays bounded',
  async () => {
    const guest = await create();
    const { sandboxId } = guest;
    await guest.hold();
    await guest.run('echo first > ~/kept; head -c 3000000 /dev/urandom > ~/blob; md5sum ~/blob > ~/sum; sync');
    let count = await guest.holds();
    const memory: number[] = [];
    const disk: number[] = [];
    for (let cycle = 1; cycle <= CYCLES; cycle++) {
      const { snapshot } = await pause(sandboxId, cycle);
      memory.push(Number(snapshot?.memoryBytes));
      disk.push(Number(snapshot?.diskBytes));
      expect(snapshot).toMatchObject({ vcpus: 1, memoryMb: 256, diskSizeMb: 20_480 });
      expect(await holdings(root)).toMatchObject({ vmms: [], cgroups: [] });
      // The incarnation that it was resumed from goes behind its back.
      await expect.poll(async () => (await holdings(root)).folders, WAIT).toEqual([`${sandboxId}.${cycle}`]);
      const resumed = await resume(sandboxId, cycle + 1);
      expect(resumed.status).toBe(VmStatus.READY);
      expect(Object.keys(resumed.timingsMs)).toContain('thaw'); // VM6: from "it runs" to "it answers"
      count = await guest.holds(count);
      expect(await guest.run('cat ~/kept; md5sum -c ~/sum')).toMatch(/^first\n.*OK$/);
      await guest.run(`echo ${cycle} >> ~/log; sync`);
    }
    expect(await guest.run('cat ~/log | tr "\\n" " "')).toBe(
      Array.from({ length: CYCLES }, (_, index) => index + 1).join(' '),
    );
    const megabytes = (bytes: number[]) => bytes.map((one) => Math.round(one / (1 << 20))).join(' ');
    console.log(`after each pause, in MB: memory ${megabytes(memory)}; disk ${megabytes(disk)}`);
    // SN3: the second pause stores what changed since the first, not all of it again.
    const [first = 0, second = 0] = memory;
    expect(second - first).toBeLessThan(first);
    // Merged, the sum of all generations is no more than what differs from the base, and a few of the latest.
    expect(memory.at(-1)).toBeLessThan(3 * first + (64 << 20));
    expect(disk.at(-1)).toBeLessThan((disk[0] ?? 0) + (64 << 20));
    const names = await readdir(join(root.folder, 'sandboxes', `${sandboxId}.${CYCLES}`)).catch(() => []);
    expect(names.filter((name) => name.endsWith('.gen')).length).toBeLessThan(8);
    await agent.client.destroySandbox({ command: command(sandboxId, CYCLES + 1) });
    expect(await holdings(root)).toMatchObject({ vmms: [], cgroups: [], folders: [] });
  },
  TIMEOUT_MS,
);

test(
  'SN13, I1: a second resume, a resume of what runs, and a resume of what is not there are refused; the same one joins',
  async () => {
    const { sandboxId } = await create();
    await pause(sandboxId, 1);
    const call = { command: command(sandboxId, 2), spec: SPEC, fromIncarnation: 1 };
    const first = agent.client.resumeSandbox(call);
    // Of two that arrive together either may be the first: here the first one is.
    await expect
      .poll(async () => (await agent.client.inspectSandbox({ sandboxId })).report?.incarnation, { interval: 5 })
      .toBe(2);
    const other = agent.client.resumeSandbox({ command: command(sandboxId, 3), spec: SPEC, fromIncarnation: 1 });
    expect(await other.catch(codeOf)).toBe('earlier_incarnation_live');
    const same = await agent.client.resumeSandbox(call);
    expect((await first).report?.status).toBe(VmStatus.READY);
    expect(same.report?.status).toBe(VmStatus.READY);
    expect((await holdings(root)).vmms).toHaveLength(1);

    const running = agent.client.resumeSandbox({ command: command(sandboxId, 3), spec: SPEC, fromIncarnation: 2 });
    expect(await running.catch(codeOf)).toBe('not_paused');
    const nothing = newSandboxId();
    const missing = agent.client.resumeSandbox({ command: command(nothing, 2), spec: SPEC, fromIncarnation: 1 });
    expect(await missing.catch(codeOf)).toBe('not_paused');

    // SN13: pause against pause has one outcome, and both askers hear it; a stale owner is refused.
    const [one, two] = await Promise.all([pause(sandboxId, 2), pause(sandboxId, 2)]);
    expect([one.status, two.status]).toEqual([VmStatus.PAUSED, VmStatus.PAUSED]);
    const stale = agent.client.pauseSandbox({ command: command(sandboxId, 2, 0n) });
    expect(await stale.catch(codeOf)).toBe('stale_epoch');
    await agent.client.destroySandbox({ command: command(sandboxId, 3) });
    expect(await holdings(root)).toMatchObject({ vmms: [], folders: [] });
  },
  TIMEOUT_MS,
);

test(
  'SN7: a pause of a timer is refused with the latest activity; connections end before the guest is frozen',
  async () => {
    const guest = await create();
    const { sandboxId } = guest;
    await guest.run('true');
    const early = agent.client.pauseSandbox({ command: command(sandboxId), ifIdleMs: 600_000n });
    const refused: ConnectError = await early.then(
      () => expect.unreachable(),
      (error) => error,
    );
    expect([codeOf(refused), refused.metadata.has('wrenn-idle-ms')]).toEqual(['active', true]);
    // In-flight exec at the pause: its caller hears that the connection ended, the process itself goes on.
    const events: string[] = [];
    const stream = (async () => {
      const script =
        'echo $$ > /tmp/shell; i=0; while true; do i=$((i+1)); echo $i > /tmp/ticks; echo $i; sleep 0.1; done';
      for await (const { event } of agent.client.execStream({ sandboxId, cmd: 'sh', args: ['-c', script] })) {
        events.push(event.case ?? '');
      }
    })();
    const broken = stream.then(
      () => 'ended',
      () => 'failed',
    );
    await guest.run('while [ ! -e /tmp/ticks ]; do sleep 0.05; done');
    await pause(sandboxId, 1);
    expect(await broken).toBe('failed');
    await resume(sandboxId, 2);
    const ticks = Number(await guest.run('cat /tmp/ticks'));
    await guest.run(`while [ $(cat /tmp/ticks) -le ${ticks} ]; do sleep 0.05; done; kill $(cat /tmp/shell)`);
    await agent.client.destroySandbox({ command: command(sandboxId, 2) });
  },
  TIMEOUT_MS,
);

test(
  'SN1: a pause leaves to memory what the guest had not written to its disk; after the resume it gets there',
  async () => {
    const guest = await create();
    const { sandboxId } = guest;
    await guest.run('echo 0 > /proc/sys/vm/dirty_writeback_centisecs', 'root'); // nothing is written by itself
    await guest.run('head -c 4000000 /dev/urandom > /root/late; md5sum /root/late > /root/sum', 'root');
    await pause(sandboxId, 1);
    await resume(sandboxId, 2);
    const dirtyKb = Number(await guest.run('grep ^Dirty: /proc/meminfo | tr -dc 0-9'));
    expect(dirtyKb).toBeGreaterThan(3_900);
    await guest.run('sync; echo 3 > /proc/sys/vm/drop_caches', 'root');
    expect(await guest.run('md5sum -c /root/sum', 'root')).toMatch(/OK$/);
    await agent.client.destroySandbox({ command: command(sandboxId, 2) });
  },
  TIMEOUT_MS,
);

test(
  'SN9, FS2, FS5: a paused sandbox is copied and outlived by its copies; its disk is an image only while it runs',
  async () => {
    const guest = await create();
    const { sandboxId } = guest;
    await guest.run('echo mine > ~/file');
    await guest.hold();
    const flatten = { command: command(sandboxId), name: `flat-${sandboxId.slice(2, 8)}` };
    const image = await agent.client.flattenRootfs(flatten);
    await pause(sandboxId, 1);
    // Part of what it has written may be in its memory alone.
    expect(await agent.client.flattenRootfs(flatten).catch(codeOf)).toBe('not_running');
    const { snapshot } = await agent.client.createSnapshot({ command: command(sandboxId), snapshotId: 'of-paused' });
    expect(snapshot).toMatchObject({ snapshotId: 'of-paused', memoryMb: 256 });
    // FS5: as small as what is in it; who starts from it has the size of any other.
    expect(Number(image.sizeBytes)).toBeLessThan(2 * 1024 ** 3);
    expect(Number(image.bytes)).toBeLessThanOrEqual(Number(image.sizeBytes));
    await agent.client.destroySandbox({ command: command(sandboxId) });

    const copy = newSandboxId();
    const start = { command: command(copy), spec: SPEC, snapshotId: 'of-paused' };
    expect((await agent.client.createSandbox(start)).report?.status).toBe(VmStatus.READY);
    const shell = new GuestShell(() => agent, copy);
    await shell.holds(1);
    await agent.client.deleteSnapshot({ snapshotId: 'of-paused', epoch: 1n });
    await agent.client.deleteSnapshot({ snapshotId: 'of-paused', epoch: 1n });
    expect(await shell.run('cat ~/file')).toBe('mine');
    await pause(copy, 1);
    await resume(copy, 2);
    expect(await shell.run('cat ~/file')).toBe('mine');

    const flat = newSandboxId();
    const spec = { ...SPEC, template: `flat-${sandboxId.slice(2, 8)}` };
    expect((await agent.client.createSandbox({ command: command(flat), spec })).report?.status).toBe(VmStatus.READY);
    const onFlat = new GuestShell(() => agent, flat);
    expect(await onFlat.run('cat ~/file')).toBe('mine');
    expect(Number(await onFlat.run('df --output=size -BM / | tail -1 | tr -dc 0-9'))).toBeGreaterThan(18_000);
    for (const [id, incarnation] of [[copy, 2] as const, [flat, 1] as const]) {
      await agent.client.destroySandbox({ command: command(id, incarnation) });
    }
  },
  TIMEOUT_MS,
);

test(
  'SN14: the base is root’s and read-only, and its holes are holes; a manifest is for root’s eyes only',
  async () => {
    const { sandboxId } = await create();
    await pause(sandboxId, 1);
    const folder = join(root.folder, 'sandboxes', `${sandboxId}.1`);
    const base = await stat(join(folder, 'base.mem'));
    expect([base.uid, base.mode & 0o777]).toEqual([0, 0o444]);
    expect(base.nlink).toBeGreaterThan(1); // shared with the boot snapshot, not copied
    expect(base.blocks * 512).toBeLessThan(base.size);
    expect((await stat(join(folder, 'manifest.json'))).mode & 0o777).toBe(0o600);
    const { layers } = JSON.parse(await readFile(join(folder, 'manifest.json'), 'utf8'));
    for (const name of layers.slice(1)) expect((await stat(join(folder, name))).mode & 0o777).toBe(0o444);
    await agent.client.destroySandbox({ command: command(sandboxId) });
  },
  TIMEOUT_MS,
);

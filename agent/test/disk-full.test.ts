import { execFile } from 'node:child_process';
import { mkdtemp, open, readdir, rm, statfs } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import type { ConnectError } from '@connectrpc/connect';
import { VmStatus } from '@wrenn/proto/hostagent/v1/hostagent_pb';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { AgentFiles } from '../src/files.ts';
import { QmpClient } from '../src/vmm/qmp.ts';
import { AgentProcess, AgentRoot, command, newSandboxId, SPEC } from './agent-process.ts';
import { GuestShell } from './guest-memory.ts';
import { journalOf } from './journal.ts';
import { holdings } from './leaks.ts';

const TIMEOUT_MS = 240_000;
const MIB = 1 << 20;
/** Room for the VMM, a boot snapshot of 256 MB and a pause. */
const DISK_MB = 1_200;
/** Enough for the journal, too little for the memory that a guest has changed. */
const LEFT_MB = 4;

const run = promisify(execFile);
let image: string;
let disk: string;
let root: AgentRoot;
let agent: AgentProcess;

beforeAll(async () => {
  disk = await mkdtemp(join(tmpdir(), 'wd-'));
  image = `${disk}.ext4`;
  await (await open(image, 'w')).close();
  await run('truncate', ['-s', `${DISK_MB}M`, image]);
  await run('mkfs.ext4', ['-q', '-m', '0', image]);
  await run('mount', ['-o', 'loop', image, disk]);
  root = await AgentRoot.make({ first: 9205, last: 9209 }, disk);
  agent = await AgentProcess.start(root);
}, TIMEOUT_MS);

afterAll(async () => {
  await agent?.terminate();
  await root?.remove();
  await run('umount', [disk]);
  await rm(image);
  await rm(disk, { recursive: true });
}, TIMEOUT_MS);

/** Bytes. */
async function free(): Promise<number> {
  const { bavail, bsize } = await statfs(disk);
  return bavail * bsize;
}

/** Takes all of the disk but what is to be left. */
async function fill(path: string): Promise<void> {
  await run('fallocate', ['-l', `${(await free()) - LEFT_MB * MIB}`, path]);
}

const refusal = (call: Promise<unknown>) =>
  call.then(
    () => expect.unreachable(),
    (error: ConnectError) => [error.metadata.get('wrenn-error-code'), error.rawMessage],
  );

test(
  'SN14: a boot snapshot for which there is no room fails the create with the reason, once, and leaves nothing; with room it is made',
  async () => {
    const filler = join(disk, 'filler');
    await fill(filler);
    // FS4: it is told of.
    const metrics = await (await fetch(`${agent.url}/metrics`)).text();
    expect(Number(/^wrenn_agent_disk_free_bytes (\d+)$/m.exec(metrics)?.[1])).toBeLessThanOrEqual(LEFT_MB * MIB);
    const create = () => agent.client.createSandbox({ command: command(newSandboxId()), spec: SPEC });
    const { report } = await create();
    expect(report).toMatchObject({ status: VmStatus.GONE, code: 'disk_full', retryable: true });
    expect(report?.message).toContain('the boot snapshot of the template minimal could not be made');
    expect(await holdings(root)).toMatchObject({ vmms: [], cgroups: [], folders: [] });
    expect(await readdir(join(root.folder, 'snapshots'))).toEqual([]);
    const boots = (await journalOf(agent)).filter(({ id, event }) => id.startsWith('boot.') && event.type === 'CREATE');
    expect(boots).toHaveLength(1);
    expect(await free()).toBeGreaterThan((LEFT_MB - 2) * MIB);
    await rm(filler);
    const made = await create();
    expect(made.report?.status).toBe(VmStatus.READY);
    expect(await readdir(join(root.folder, 'snapshots'))).toEqual([expect.stringMatching(/^boot\./)]);
    await agent.client.destroySandbox({ command: command(made.report?.sandboxId ?? '') });
  },
  TIMEOUT_MS,
);

test(
  'SN5: a full disk fails the pause and the fork with nothing left of them; the VM runs on, and pauses when there is room',
  async () => {
    const sandboxId = newSandboxId();
    const { report } = await agent.client.createSandbox({ command: command(sandboxId), spec: SPEC });
    expect(report?.status).toBe(VmStatus.READY);
    const guest = new GuestShell(() => agent, sandboxId);
    await guest.hold();
    let count = await guest.holds();
    await guest.run('sync');
    const filler = join(disk, 'filler');
    await fill(filler);
    const paused = await refusal(agent.client.pauseSandbox({ command: command(sandboxId) }));
    expect(paused).toEqual(['pause_failed', expect.stringMatching(/space/)]);
    const fork = { command: command(sandboxId), snapshotId: 'full', children: 1 };
    expect(await refusal(agent.client.forkSandbox(fork))).toEqual(['snapshot_failed', expect.stringMatching(/space/)]);
    expect(await readdir(join(root.folder, 'snapshots'))).toEqual([expect.stringMatching(/^boot\./)]);
    expect((await agent.client.inspectSandbox({ sandboxId })).report?.status).toBe(VmStatus.READY);
    // Whatever was written is gone again: there is as much room as before, but for the new layer of the disk.
    expect(await free()).toBeGreaterThan((LEFT_MB - 2) * MIB);
    count = await guest.holds(count);
    await rm(filler);
    await agent.client.pauseSandbox({ command: command(sandboxId) });
    const resumed = { command: command(sandboxId, 2), spec: SPEC, fromIncarnation: 1 };
    expect((await agent.client.resumeSandbox(resumed)).report?.status).toBe(VmStatus.READY);
    await guest.holds(count);
    await agent.client.destroySandbox({ command: command(sandboxId, 2) });
    expect(await holdings(root)).toMatchObject({ vmms: [], folders: [] });
  },
  TIMEOUT_MS,
);

test(
  'FS4: a guest that meets the full disk stands still, the journal says why, and it goes on when there is room, also under the next agent',
  async () => {
    const sandboxId = newSandboxId();
    const { report } = await agent.client.createSandbox({ command: command(sandboxId), spec: SPEC });
    expect(report?.status).toBe(VmStatus.READY);
    const guest = new GuestShell(() => agent, sandboxId);
    await guest.hold();
    let count = await guest.holds();
    const filler = join(disk, 'filler');
    const stalls = async () => {
      const entries = (await journalOf(agent)).filter(({ id }) => id === `${sandboxId}.1`);
      return entries.flatMap(({ event }) => (event.type.startsWith('STALL') ? [event] : []));
    };
    const runOutOfRoom = async (name: string) => {
      await fill(filler);
      const write = `head -c 64M /dev/urandom | tee /var/${name} | md5sum >/var/${name}.sum; sync; touch /var/${name}.done`;
      await guest.run(`nohup sh -c '${write}' >/dev/null 2>&1 &`, 'root');
      await expect.poll(() => runState(sandboxId), { timeout: 60_000 }).toBe('io-error');
    };
    const finish = async (name: string) => {
      await guest.run(`while [ ! -e /var/${name}.done ]; do sleep 0.1; done; echo 3 >/proc/sys/vm/drop_caches`, 'root');
      expect(await guest.run(`md5sum </var/${name}`)).toBe(await guest.run(`cat /var/${name}.sum`));
      count = await guest.holds(count);
    };

    await runOutOfRoom('first');
    await rm(filler);
    await expect.poll(stalls, { timeout: 60_000 }).toMatchObject([STALLED, { type: 'STALL_ENDED' }]);
    await finish('first');

    await runOutOfRoom('second');
    await agent.kill();
    await rm(filler);
    agent = await AgentProcess.start(root);
    const ended = async () => (await stalls()).at(-1);
    await expect.poll(async () => (await stalls()).length, { timeout: 60_000 }).toBeGreaterThanOrEqual(4);
    await expect.poll(ended, { timeout: 60_000 }).toMatchObject({ type: 'STALL_ENDED' });
    await finish('second');
    await agent.client.destroySandbox({ command: command(sandboxId) });
  },
  TIMEOUT_MS,
);

const STALLED = { type: 'STALLED', code: 'disk_full', message: 'a write found no room on the disk of its host' };

/** What the VMM says of itself, on the socket that nobody keeps open. */
async function runState(sandboxId: string): Promise<string> {
  const signal = AbortSignal.timeout(5_000);
  const control = await QmpClient.connect(new AgentFiles(root.folder).sandbox(`${sandboxId}.1`).qmp, signal);
  try {
    return (await control.execute('query-status', undefined, signal)).status;
  } finally {
    control.close();
  }
}

import { existsSync } from 'node:fs';
import { readdir } from 'node:fs/promises';
import { join } from 'node:path';
import { slotCreate } from '@wrenn/addon';
import { VmStatus } from '@wrenn/proto/hostagent/v1/hostagent_pb';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { AgentProcess, AgentRoot, command, newSandboxId, SPEC } from './agent-process.ts';
import { GuestShell } from './guest-memory.ts';
import { endAgent, holdings } from './leaks.ts';

/** One cold boot and some restores, on a busy machine with two cores. */
const TIMEOUT_MS = 240_000;
const WAIT = { timeout: 120_000 };
/** The size of which VMs are made ahead. */
const WARM_SPEC = { ...SPEC, memoryMb: 512 };
const POOL = { WRENN_WARM_POOL: 'minimal=1', WRENN_VMM_POOL: '1' };

let root: AgentRoot;
let agent: AgentProcess;

beforeAll(async () => {
  root = await AgentRoot.make({ first: 9210, last: 9219 });
  agent = await AgentProcess.start(root, POOL);
}, TIMEOUT_MS);

afterAll(() => endAgent(root, agent), TIMEOUT_MS);

const warmFolders = async () =>
  (await readdir(join(root.folder, 'sandboxes'))).filter((name) => name.startsWith('warm.'));
/** Both have their VMM: one is restored and stopped, the other waits. */
const filled = async () => {
  const folders = await warmFolders();
  const running = folders.filter((name) => existsSync(join(root.folder, 'sandboxes', name, 'run/qmp.sock')));
  return running.length;
};

async function create(): Promise<GuestShell & { phases: string[] }> {
  const sandboxId = newSandboxId();
  const { report } = await agent.client.createSandbox({ command: command(sandboxId), spec: WARM_SPEC });
  if (report?.status !== VmStatus.READY) throw new Error(`not ready: ${report?.code} ${report?.message}`);
  const shell = new GuestShell(() => agent, sandboxId);
  return Object.assign(shell, { phases: Object.keys(report.timingsMs) });
}

test(
  'a create takes a warm VM over, with an identity of its own; the pool fills up again; no VM is given out twice',
  async () => {
    await expect.poll(filled, WAIT).toBe(2);
    const before = (await holdings(root)).vmms;
    const guests = await Promise.all([create(), create(), create()]);
    // Two of them made neither slot nor disk nor VMM.
    const claimed = guests.filter(({ phases }) => !phases.includes('launch'));
    expect(claimed.length).toBe(2);
    const { vmms, folders } = await holdings(root);
    expect(vmms).toEqual(expect.arrayContaining(before));
    for (const guest of guests) expect(folders).toContain(`${guest.sandboxId}.1`);
    const names = await Promise.all(
      guests.map((guest) => guest.run('hostname; cat /run/wrenn/sandbox_id; echo; id -un')),
    );
    expect(names).toEqual(guests.map(({ sandboxId }) => `${sandboxId}\n${sandboxId}\nuser`));
    const random = await Promise.all(guests.map((guest) => guest.run('head -c 16 /dev/urandom | od -An -tx1')));
    expect(new Set(random).size).toBe(3);
    // SN11: nothing is left of whom the warm one was in its rehearsal.
    const named = await Promise.all(
      guests.map((guest) =>
        guest.run('cat /etc/hostname; grep -l nobody /etc/host* /run/wrenn/*; cat /etc/machine-id'),
      ),
    );
    expect(named.map((text) => text.split('\n')[0])).toEqual(guests.map(({ sandboxId }) => sandboxId));
    expect(named.map((text) => text.split('\n').length)).toEqual([2, 2, 2]);
    expect(new Set(named.map((text) => text.split('\n')[1])).size).toBe(3);
    await expect.poll(filled, WAIT).toBe(2);
    // None of what is made ahead is a sandbox to anybody.
    const { reports } = await agent.client.listSandboxes({});
    expect(reports.map(({ sandboxId }) => sandboxId).sort()).toEqual(guests.map(({ sandboxId }) => sandboxId).sort());

    // One that was taken over pauses and resumes as any other.
    const [guest] = guests;
    if (guest === undefined) throw new Error('no guest');
    await guest.run('echo kept > ~/f');
    await agent.client.pauseSandbox({ command: command(guest.sandboxId) });
    const { report } = await agent.client.resumeSandbox({
      ...{ command: command(guest.sandboxId, 2), spec: WARM_SPEC, fromIncarnation: 1 },
    });
    expect(report?.status).toBe(VmStatus.READY);
    expect(await guest.run('cat ~/f')).toBe('kept');
    for (const { sandboxId } of guests) {
      await agent.client.destroySandbox({ command: command(sandboxId, sandboxId === guest.sandboxId ? 2 : 1) });
    }
  },
  TIMEOUT_MS,
);

test(
  'VM3: what nobody has claimed ends with its agent and with the next one; what was claimed lives on',
  async () => {
    await expect.poll(filled, WAIT).toBe(2);
    const guest = await create();
    const claimed = (await holdings(root)).folders;
    expect(claimed).toContain(`${guest.sandboxId}.1`);
    await expect.poll(filled, WAIT).toBe(2);
    const unclaimed = await warmFolders();
    await agent.kill();
    agent = await AgentProcess.start(root, { ...POOL, WRENN_WARM_POOL: 'minimal=0' });
    expect(await warmFolders()).toEqual([]);
    expect((await holdings(root)).vmms).toHaveLength(1);
    expect(unclaimed).toHaveLength(2);
    expect(await guest.run('echo alive')).toBe('alive');
    await agent.stop();
    agent = await AgentProcess.start(root, POOL);
    await expect.poll(filled, WAIT).toBe(2);
    await agent.stop(); // graceful: nothing made ahead is left, the sandbox is
    expect(await holdings(root)).toMatchObject({ folders: [`${guest.sandboxId}.1`] });
    expect((await holdings(root)).vmms).toHaveLength(1);
    agent = await AgentProcess.start(root, { ...POOL, WRENN_WARM_POOL: 'minimal=0' });
    expect(await guest.run('echo alive')).toBe('alive');
    await agent.client.destroySandbox({ command: command(guest.sandboxId) });
  },
  TIMEOUT_MS,
);

test(
  'I5: a paused sandbox that had taken a warm VM over holds no slot, also after its agent was killed',
  async () => {
    await agent.stop();
    agent = await AgentProcess.start(root, POOL);
    await expect.poll(filled, WAIT).toBe(2);
    const guest = await create();
    await agent.client.pauseSandbox({ command: command(guest.sandboxId) });
    await agent.kill();
    // A killed agent may leave a slot of any number that it was making ahead.
    const there = new Set((await holdings(root)).slots);
    for (let index = root.slots.first; index <= root.slots.last; index++) {
      if (!there.has(index)) await slotCreate({ index });
    }
    agent = await AgentProcess.start(root, { ...POOL, WRENN_WARM_POOL: 'minimal=0' });
    await expect.poll(async () => (await holdings(root)).slots.length, WAIT).toBe(1);
    await agent.client.destroySandbox({ command: command(guest.sandboxId) });
  },
  TIMEOUT_MS,
);

test(
  'VMs made ahead that die are replaced, and no create gets one of them',
  async () => {
    await agent.stop();
    agent = await AgentProcess.start(root, POOL);
    await expect.poll(filled, WAIT).toBe(2);
    const [dead, { vmms }] = [await warmFolders(), await holdings(root)];
    for (const pid of vmms) process.kill(pid, 'SIGKILL');
    const others = async () => (await warmFolders()).filter((name) => dead.includes(name)).length;
    await expect.poll(others, WAIT).toBe(0);
    await expect.poll(filled, WAIT).toBe(2);
    const guest = await create();
    expect(guest.phases).not.toContain('launch');
    expect(await guest.run('echo alive')).toBe('alive');
    await agent.client.destroySandbox({ command: command(guest.sandboxId) });
  },
  TIMEOUT_MS,
);

test(
  'VM3: the agent is killed while a create takes a warm VM over: the next one goes on with that VM',
  async () => {
    await agent.stop();
    agent = await AgentProcess.start(root, POOL);
    await expect.poll(filled, WAIT).toBe(2);
    const ahead = (await holdings(root)).vmms;
    const start = { command: command(newSandboxId()), spec: WARM_SPEC };
    const { sandboxId } = start.command;
    let over = false;
    const end = () => {
      over = true;
    };
    const lost = agent.client.createSandbox(start).then(end, end);
    const folder = join(root.folder, 'sandboxes', `${sandboxId}.1`);
    while (!existsSync(folder) && !over) await new Promise((resolve) => setImmediate(resolve));
    await agent.kill();
    await lost;
    agent = await AgentProcess.start(root, { ...POOL, WRENN_WARM_POOL: 'minimal=0' });
    // The control plane asks again with the same key.
    const { report } = await agent.client.createSandbox(start);
    expect(report?.status).toBe(VmStatus.READY);
    const { vmms, folders } = await holdings(root);
    expect(folders).toEqual([`${sandboxId}.1`]);
    expect(vmms).toHaveLength(1);
    expect(ahead).toEqual(expect.arrayContaining(vmms));
    expect(await new GuestShell(() => agent, sandboxId).run('hostname')).toBe(sandboxId);
    await agent.client.destroySandbox({ command: command(sandboxId) });
  },
  TIMEOUT_MS,
);

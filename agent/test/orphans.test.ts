import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync } from 'node:fs';
import { mkdir, mkdtemp, readdir, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { VmStatus } from '@wrenn/proto/hostagent/v1/hostagent_pb';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { userOf } from '../src/slots/names.ts';
import { markOf } from '../src/vmm/processes.ts';
import { AgentProcess, AgentRoot, command, SPEC } from './agent-process.ts';
import { GuestShell } from './guest-memory.ts';
import { endAgent, holdings } from './leaks.ts';

const TIMEOUT_MS = 240_000;

let root: AgentRoot;
let agent: AgentProcess;
/** The root of another agent of this machine, which does not run. */
let foreign: string;

beforeAll(async () => {
  root = await AgentRoot.make({ first: 9260, last: 9269 });
  foreign = await mkdtemp(join(tmpdir(), 'wrenn-foreign-'));
  agent = await AgentProcess.start(root);
}, TIMEOUT_MS);

afterAll(async () => {
  await endAgent(root, agent);
  await rm(foreign, { recursive: true });
}, TIMEOUT_MS);

const create = (snapshotId = '') => GuestShell.create(() => agent, { snapshotId });

/** A process that looks like a VMM of that root: its mark, and a user of VMMs. */
async function vmm(folder: string, vmId: string): Promise<ChildProcess> {
  const child = spawn('sleep', ['600'], {
    env: { PATH: process.env.PATH, ...markOf(folder, vmId) },
    uid: userOf(9269),
  });
  await once(child, 'spawn');
  return child;
}

async function put(folder: string, ...names: string[]): Promise<void> {
  await mkdir(folder, { recursive: true });
  for (const name of names) await writeFile(join(folder, name), 'something');
}

test(
  'I5, SN5: a start removes what nobody owns and what was never finished, and touches nothing else',
  async () => {
    const live = await create();
    const paused = await create();
    await paused.hold();
    const count = await paused.holds();
    await agent.client.createSnapshot({ command: command(paused.sandboxId), snapshotId: 'kept' });
    await agent.client.pauseSandbox({ command: command(paused.sandboxId) });
    await agent.kill();
    const at = (...names: string[]) => join(root.folder, ...names);
    const kept = [await readdir(at('sandboxes')), await readdir(at('snapshots')), await readdir(at('images'))];

    // Of a sandbox that is gone: its folder, whole or not, and its VMM.
    await put(at('sandboxes/sbghost.1'), 'disk-1', 'base.mem', 'manifest.json');
    await put(at('sandboxes/sbghost.2/run'), 'qmp.sock');
    await put(at('sandboxes'), 'stray');
    const orphan = await vmm(root.folder, 'sbghost.1');
    const orphanEnded = once(orphan, 'exit');
    // Of snapshots: being made, being deleted, made for an image; a boot snapshot that is not whole.
    await put(at('snapshots/half.new'), 'base.mem');
    await put(at('snapshots/deleted'), 'base.mem', 'disk-1');
    await put(at('snapshots/flatten-0123'), 'base.mem', 'manifest.json');
    await put(at('snapshots/boot.0123456789abcdef'), 'base.mem', 'manifest.json');
    await put(at('images'), '.half.new');
    // Not ours to remove: a damaged snapshot of a team, whatever else lies in the root, and another agent's things.
    await put(at('snapshots/damaged'), 'base.mem', 'manifest.json');
    await put(at(), 'notes.txt');
    await put(at('images'), 'image.ext4.123.new'); // an image that is being built
    await put(join(foreign, 'sandboxes/sbother.1'), 'disk-1');
    await put(join(foreign, 'snapshots/other.new'), 'base.mem');
    const other = await vmm(foreign, 'sbother.1');

    agent = await AgentProcess.start(root);
    await orphanEnded;
    expect((await readdir(at('sandboxes'))).sort()).toEqual(kept[0]?.sort());
    expect((await readdir(at('snapshots'))).sort()).toEqual([...(kept[1] ?? []), 'damaged'].sort());
    expect((await readdir(at('images'))).sort()).toEqual([...(kept[2] ?? []), 'image.ext4.123.new'].sort());
    expect(existsSync(at('notes.txt'))).toBe(true);
    expect(existsSync(join(foreign, 'sandboxes/sbother.1/disk-1'))).toBe(true);
    expect(existsSync(join(foreign, 'snapshots/other.new/base.mem'))).toBe(true);
    expect(other.exitCode ?? other.signalCode).toBe(null);
    other.kill('SIGKILL');

    // What was kept is as good as before.
    expect(await live.run('echo alive')).toBe('alive');
    const call = { command: command(paused.sandboxId, 2), spec: SPEC, fromIncarnation: 1 };
    expect((await agent.client.resumeSandbox(call)).report?.status).toBe(VmStatus.READY);
    await paused.holds(count);
    const child = await create('kept');
    await child.holds(count);
    for (const snapshotId of ['kept', 'damaged']) await agent.client.deleteSnapshot({ snapshotId, epoch: 1n });
    expect(await readdir(at('snapshots'))).toEqual([expect.stringMatching(/^boot\./)]);
    for (const { sandboxId } of [live, child]) await agent.client.destroySandbox({ command: command(sandboxId) });
    await agent.client.destroySandbox({ command: command(paused.sandboxId, 2) });
  },
  TIMEOUT_MS,
);

test(
  'I5: an agent whose journal is lost ends the VMs of the earlier one and removes their files; named snapshots stay',
  async () => {
    const guest = await create();
    await guest.hold();
    const count = await guest.holds();
    await agent.client.createSnapshot({ command: command(guest.sandboxId), snapshotId: 'kept' });
    expect((await holdings(root)).vmms).toHaveLength(1);
    await agent.kill();
    await rm(join(root.folder, 'journal'), { recursive: true });
    agent = await AgentProcess.start(root);
    expect(await holdings(root)).toMatchObject({ vmms: [], cgroups: [], folders: [] });
    expect((await agent.client.listSandboxes({})).reports).toEqual([]);
    const child = await create('kept');
    await child.holds(count);
    await agent.client.destroySandbox({ command: command(child.sandboxId) });
    await agent.client.deleteSnapshot({ snapshotId: 'kept', epoch: 1n });
  },
  TIMEOUT_MS,
);

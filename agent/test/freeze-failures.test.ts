import { existsSync } from 'node:fs';
import { open, readdir, readFile, rename, rm, truncate, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { type VmReport, VmStatus } from '@wrenn/proto/hostagent/v1/hostagent_pb';
import { afterAll, afterEach, beforeAll, describe, expect, test } from 'vitest';
import { AgentProcess, AgentRoot, codeOf, command, SPEC } from './agent-process.ts';
import { GuestShell } from './guest-memory.ts';
import { comes, HeldFile } from './held-file.ts';
import { endAgent, holdings, openLayers } from './leaks.ts';
import { Silencer } from './silencer.ts';

/** Some restores on a busy machine with two cores. */
const TIMEOUT_MS = 240_000;
/** What a pause leaves behind on its way, in this order: where one of these appears, the agent is killed. */
const PAUSE_STEPS = ['saving/notes.json', 'run/devices', 'saving/1.gen', 'saving/saved.json', 'manifest.json'] as const;
const BRANCH_STEPS = ['disk-3', 'saving/notes.json', 'run/devices', 'saving/saved.json'] as const;
const RESUME_STEPS = ['disk-0', 'lineage.json', 'run', 'run/qmp.sock'] as const;

let root: AgentRoot;
let agent: AgentProcess;

beforeAll(async () => {
  root = await AgentRoot.make({ first: 9220, last: 9229 });
  agent = await AgentProcess.start(root);
}, TIMEOUT_MS);

afterAll(() => endAgent(root, agent), TIMEOUT_MS);

/** One that failed must not be what the next ones find. */
afterEach(async () => {
  const { reports } = await agent.client.listSandboxes({});
  for (const { sandboxId, incarnation, status } of reports) {
    if (status !== VmStatus.GONE) await agent.client.destroySandbox({ command: command(sandboxId, incarnation) });
  }
}, TIMEOUT_MS);

const create = (snapshotId = '') => GuestShell.create(() => agent, { snapshotId });

const folderOf = ({ sandboxId }: GuestShell, incarnation = 1) =>
  join(root.folder, 'sandboxes', `${sandboxId}.${incarnation}`);
const inspect = async ({ sandboxId }: GuestShell): Promise<VmReport | undefined> =>
  (await agent.client.inspectSandbox({ sandboxId })).report;

async function resume({ sandboxId }: GuestShell, incarnation = 2): Promise<VmReport | undefined> {
  const call = { command: command(sandboxId, incarnation), spec: SPEC, fromIncarnation: 1 };
  return (await agent.client.resumeSandbox(call)).report;
}

async function destroy({ sandboxId }: GuestShell, incarnation = 9): Promise<void> {
  await agent.client.destroySandbox({ command: command(sandboxId, incarnation) });
  expect(await holdings(root)).toMatchObject({ vmms: [], cgroups: [], folders: [] });
}

/** Kills the agent when a file appears, and starts the next one. */
async function killAt(path: string, call: Promise<unknown>): Promise<void> {
  await comes(path, call);
  await agent.kill();
  await call.catch(() => {});
  agent = await AgentProcess.start(root);
}

/** Kills the agent where its pause of incarnation 1 waits for a file, and starts the next one. */
async function killHeldAt(
  guest: GuestShell,
  file: string,
  meanwhile = async () => {},
): Promise<VmStatus | string | null> {
  const pause = { command: command(guest.sandboxId) };
  const held = await HeldFile.hold(join(folderOf(guest), file));
  const lost = answerOf(agent.client.pauseSandbox(pause));
  await held.reached(lost);
  await meanwhile();
  await agent.kill();
  await lost;
  await held.letGo();
  agent = await AgentProcess.start(root);
  return (await answerOf(agent.client.pauseSandbox(pause))) ?? null;
}

/** What a pause is answered. */
const answerOf = (pause: ReturnType<typeof agent.client.pauseSandbox>) =>
  pause.then(
    ({ report }) => report?.status,
    (error) => codeOf(error),
  );

/** Whatever happened to the pause of incarnation 1: it runs or is paused, and goes on as the same guest. */
async function goesOn(guest: GuestShell, count: number): Promise<void> {
  await expect.poll(async () => (await inspect(guest))?.status, { timeout: 60_000 }).not.toBe(VmStatus.RELEASING);
  const status = (await inspect(guest))?.status;
  if (status === VmStatus.PAUSED) expect((await resume(guest))?.status).toBe(VmStatus.READY);
  else expect(status).toBe(VmStatus.READY);
  await guest.holds(count);
}

describe('the agent is killed in the middle', () => {
  test.each(PAUSE_STEPS)(
    'of a pause, at %s: rolled back or finished, and the guest is the same (SN5, hazard 7)',
    async (step) => {
      const guest = await create();
      await guest.hold();
      const count = await guest.holds();
      const key = command(guest.sandboxId);
      await killAt(join(folderOf(guest), step), agent.client.pauseSandbox({ command: key }));
      // The control plane asks again with the same key, and hears what has become of it.
      const again = await answerOf(agent.client.pauseSandbox({ command: key }));
      if (step === 'manifest.json') expect(again).toBe(VmStatus.PAUSED);
      else expect([VmStatus.PAUSED, 'pause_failed']).toContain(again);
      if (again === VmStatus.PAUSED) expect(await holdings(root)).toMatchObject({ vmms: [], cgroups: [] });
      await goesOn(guest, count);
      await destroy(guest);
    },
    TIMEOUT_MS,
  );

  test(
    'while a pause is saved: rolled back, the guest runs on (SN5, hazard 7)',
    async () => {
      const guest = await create();
      await guest.hold();
      const count = await guest.holds();
      expect(await killHeldAt(guest, 'lineage.json')).toBe('pause_failed');
      expect((await inspect(guest))?.status).toBe(VmStatus.READY);
      await goesOn(guest, count);
      await destroy(guest);
    },
    TIMEOUT_MS,
  );

  test.each(['alone', 'and its VMM'])(
    'while a pause is published, %s: published by the next agent (SN5, hazard 7)',
    async (who) => {
      const guest = await create();
      await guest.hold();
      const count = await guest.holds();
      const [vmm = 0] = (await holdings(root)).vmms;
      const meanwhile = async () => void (who === 'alone' || process.kill(vmm, 'SIGKILL'));
      expect(await killHeldAt(guest, 'manifest.json', meanwhile)).toBe(VmStatus.PAUSED);
      expect(await holdings(root)).toMatchObject({ vmms: [], cgroups: [] });
      await goesOn(guest, count);
      await destroy(guest);
    },
    TIMEOUT_MS,
  );

  test(
    'while a pause is saved, and the guest does not thaw: it is ended, the pause is answered, nothing is left (SN1)',
    async () => {
      const guest = await create();
      const silencer = await Silencer.in(guest, (await inspect(guest))?.hostIp ?? '');
      expect(await killHeldAt(guest, 'lineage.json', () => silencer.silence())).toBe('guest_lost');
      expect(await inspect(guest)).toMatchObject({ status: VmStatus.GONE, code: 'guest_lost' });
      await destroy(guest);
    },
    TIMEOUT_MS,
  );

  test.each(RESUME_STEPS)(
    'of a resume, at %s: the start is finished by the next agent, or tried again from a snapshot that is whole',
    async (step) => {
      const guest = await create();
      await guest.hold();
      const count = await guest.holds();
      await agent.client.pauseSandbox({ command: command(guest.sandboxId) });
      const call = { command: command(guest.sandboxId, 2), spec: SPEC, fromIncarnation: 1 };
      await killAt(join(folderOf(guest, 2), step), agent.client.resumeSandbox(call));
      const { report } = await agent.client.resumeSandbox(call);
      if (report?.status !== VmStatus.READY) {
        expect(report?.status).toBe(VmStatus.GONE);
        expect((await resume(guest, 3))?.status).toBe(VmStatus.READY);
      }
      await guest.holds(count);
      expect((await holdings(root)).vmms).toHaveLength(1);
      await destroy(guest);
    },
    TIMEOUT_MS,
  );

  test.each(BRANCH_STEPS)(
    'of a branch, at %s: the parent runs on, and there is a whole snapshot or none (I2)',
    async (step) => {
      const guest = await create();
      await guest.hold();
      const count = await guest.holds();
      const call = { command: command(guest.sandboxId), snapshotId: `at-${BRANCH_STEPS.indexOf(step)}`, children: 1 };
      await killAt(join(folderOf(guest), step), agent.client.forkSandbox(call));
      const code = await agent.client.forkSandbox(call).then(() => null, codeOf);
      expect([null, 'snapshot_failed']).toContain(code);
      expect(existsSync(join(root.folder, 'snapshots', call.snapshotId))).toBe(code === null);
      await guest.holds(count);
      // Another attempt is as good as the first.
      const other = { ...call, command: command(guest.sandboxId), snapshotId: `${call.snapshotId}-again` };
      await agent.client.forkSandbox(other);
      for (const snapshotId of code === null ? [call.snapshotId, other.snapshotId] : [other.snapshotId]) {
        const child = await create(snapshotId);
        await child.holds(count);
        await agent.client.deleteSnapshot({ snapshotId, epoch: 1n });
        await agent.client.destroySandbox({ command: command(child.sandboxId) });
      }
      await guest.run('echo on > ~/on; sync; cat ~/on');
      await destroy(guest);
    },
    TIMEOUT_MS,
  );
});

test(
  'SN10: the agent is killed in a fork that waits for its guest: the layer that was opened for that is closed again',
  async () => {
    const guest = await create();
    await guest.hold();
    const count = await guest.holds();
    const [vmm = 0] = (await holdings(root)).vmms;
    const layers = await openLayers(vmm);
    const silencer = await Silencer.in(guest, (await inspect(guest))?.hostIp ?? '');
    await silencer.silence();
    const call = { command: command(guest.sandboxId), snapshotId: 'silent', children: 1 };
    const fork = agent.client.forkSandbox(call);
    fork.catch(() => {});
    await expect.poll(() => openLayers(vmm), { timeout: 30_000 }).toEqual([...layers, 'disk-3']);
    await agent.kill();
    await fork.catch(() => {});
    agent = await AgentProcess.start(root);
    expect(await agent.client.forkSandbox(call).catch(codeOf)).toBe('snapshot_failed');
    expect(await openLayers(vmm)).toEqual(layers);
    await silencer.letGo();
    await guest.holds(count);
    await agent.client.forkSandbox({ ...call, command: command(guest.sandboxId) });
    const child = await create('silent');
    await child.holds(count);
    await agent.client.deleteSnapshot({ snapshotId: 'silent', epoch: 1n });
    await agent.client.destroySandbox({ command: command(child.sandboxId) });
    await destroy(guest);
  },
  TIMEOUT_MS,
);

test(
  'AG6: an agent that is told to end finishes the pause that is under way',
  async () => {
    const guest = await create();
    await guest.hold();
    const count = await guest.holds();
    const pause = agent.client.pauseSandbox({ command: command(guest.sandboxId) }).catch(() => {});
    await comes(join(folderOf(guest), 'saving/notes.json'), pause);
    await agent.stop();
    await pause;
    expect(existsSync(join(folderOf(guest), 'manifest.json'))).toBe(true);
    agent = await AgentProcess.start(root);
    await goesOn(guest, count);
    await destroy(guest);
  },
  TIMEOUT_MS,
);

describe('a snapshot that cannot be used (SN12)', () => {
  /** A paused guest, whose files something is done to. */
  async function pausedGuest(): Promise<GuestShell> {
    const guest = await create();
    await guest.run('head -c 1000000 /dev/urandom > ~/blob; sync');
    await agent.client.pauseSandbox({ command: command(guest.sandboxId) });
    return guest;
  }

  async function flip(path: string, at: number): Promise<void> {
    const file = await open(path, 'r+');
    const { buffer } = await file.read(Buffer.alloc(1), 0, 1, at);
    await file.write(Buffer.from([(buffer[0] ?? 0) ^ 0xff]), 0, 1, at);
    await file.close();
  }

  test.each([
    ['a byte of memory', (folder: string) => flip(join(folder, '1.gen'), 20_000)],
    ['a byte of the devices', (folder: string) => flip(join(folder, 'devices'), 100)],
    ['a cut layer of the disk', (folder: string) => truncate(join(folder, 'disk-2'), 4_096)],
    ['a layer that is not there', (folder: string) => rm(join(folder, 'disk-1'))],
    ['a manifest that is none', (folder: string) => writeFile(join(folder, 'manifest.json'), '{"version": 1}')],
  ])(
    '%s: snapshot_damaged, the files stay for inspection, nothing leaks',
    async (_, damage) => {
      const guest = await pausedGuest();
      await damage(folderOf(guest));
      const report = await resume(guest);
      expect(report).toMatchObject({ status: VmStatus.GONE, code: 'snapshot_damaged', retryable: false });
      expect(await inspect(guest)).toMatchObject({ incarnation: 1, status: VmStatus.PAUSED });
      expect((await holdings(root)).vmms).toEqual([]);
      expect(await readdir(folderOf(guest))).toContain('manifest.json');
      await destroy(guest);
    },
    TIMEOUT_MS,
  );

  test.each(['kernel', 'vmm_digest', 'tsc_khz', 'cpu'])(
    'another %s: snapshot_incompatible, and as good as before where that fits again',
    async (name) => {
      const guest = await pausedGuest();
      const path = join(folderOf(guest), 'manifest.json');
      const text = await readFile(path, 'utf8');
      const manifest = JSON.parse(text);
      manifest.needs[name] = 'f'.repeat(64);
      await writeFile(`${path}.other`, JSON.stringify(manifest));
      await rename(`${path}.other`, path);
      expect(await resume(guest)).toMatchObject({ status: VmStatus.GONE, code: 'snapshot_incompatible' });
      await writeFile(path, text);
      expect((await resume(guest, 3))?.status).toBe(VmStatus.READY);
      await destroy(guest);
    },
    TIMEOUT_MS,
  );
});

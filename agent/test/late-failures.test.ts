import { readdir } from 'node:fs/promises';
import { join } from 'node:path';
import type { ConnectError } from '@connectrpc/connect';
import type { Cause } from '@wrenn/core';
import { VmStatus } from '@wrenn/proto/hostagent/v1/hostagent_pb';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { AgentProcess, AgentRoot, codeOf, command, type SlotRange, SPEC } from './agent-process.ts';
import { GuestShell } from './guest-memory.ts';
import { comes, HeldFile } from './held-file.ts';
import { untilEntry } from './journal.ts';
import { endAgent, holdings } from './leaks.ts';

/** The deadline of a save, which is a good minute with 256 MB, and the starts of some VMs on a busy machine. */
const TIMEOUT_MS = 300_000;

interface Outcome {
  readonly status: VmStatus | undefined;
  readonly code: string | null;
  readonly message: string;
}

/** A guest that holds memory, and how far it had come. */
interface Holder {
  readonly guest: GuestShell;
  readonly vmm: number;
  readonly count: number;
  readonly key: ReturnType<typeof command>;
}

/** An agent and its root folder. */
class Host {
  readonly root: AgentRoot;
  agent: AgentProcess;

  constructor(root: AgentRoot, agent: AgentProcess) {
    this.root = root;
    this.agent = agent;
  }

  static async start(slots: SlotRange): Promise<Host> {
    const root = await AgentRoot.make(slots);
    const agent = await AgentProcess.start(root, { UV_THREADPOOL_SIZE: '16' }); // each read of a held file takes one
    return new Host(root, agent);
  }

  async newHolder(): Promise<Holder> {
    const earlier = new Set((await holdings(this.root)).vmms);
    const guest = await GuestShell.create(() => this.agent);
    await guest.hold();
    const vmm = (await holdings(this.root)).vmms.find((pid) => !earlier.has(pid)) ?? expect.unreachable();
    return { guest, vmm, count: await guest.holds(), key: command(guest.sandboxId) };
  }

  folderOf({ guest }: Holder): string {
    return join(this.root.folder, 'sandboxes', `${guest.sandboxId}.1`);
  }

  pause({ key }: Holder): Promise<Outcome> {
    return outcomeOf(this.agent.client.pauseSandbox({ command: key }).then(({ report }) => report?.status));
  }

  fork({ key }: Holder): Promise<Outcome> {
    const call = { command: key, snapshotId: 'late', children: 1 };
    return outcomeOf(this.agent.client.forkSandbox(call).then(() => undefined));
  }

  /** Where a pause reads it is held when it begins to be published: it reads whether that was done. */
  async pauseUntilPublished(holder: Holder): Promise<{ outcome: Promise<Outcome>; held: HeldFile }> {
    const held = await HeldFile.hold(join(this.folderOf(holder), 'manifest.json'));
    const outcome = this.pause(holder);
    await held.reached(outcome);
    return { outcome, held };
  }

  /** A pause that has failed: the guest has gone on since, and nothing is left of the attempt. */
  async runsOn(holder: Holder): Promise<void> {
    const { report } = await this.agent.client.inspectSandbox({ sandboxId: holder.guest.sandboxId });
    expect(report).toMatchObject({ status: VmStatus.READY, incarnation: 1 });
    await holder.guest.holds(holder.count);
    expect(await readdir(this.folderOf(holder))).not.toContain('saving');
  }

  /** Paused: nothing but files is there. It is resumed as what it was, and destroyed without a trace. */
  async isPaused({ guest, vmm, count }: Holder): Promise<void> {
    const { sandboxId } = guest;
    expect((await this.agent.client.inspectSandbox({ sandboxId })).report?.status).toBe(VmStatus.PAUSED);
    expect((await holdings(this.root)).vmms).not.toContain(vmm);
    const resume = { command: command(sandboxId, 2), spec: SPEC, fromIncarnation: 1 };
    expect((await this.agent.client.resumeSandbox(resume)).report?.status).toBe(VmStatus.READY);
    await guest.holds(count);
    await this.agent.client.destroySandbox({ command: command(sandboxId, 2) });
    expect((await holdings(this.root)).folders.filter((name) => name.startsWith(sandboxId))).toEqual([]);
  }
}

const outcomeOf = (call: Promise<VmStatus | undefined>): Promise<Outcome> =>
  call.then(
    (status) => ({ status, code: null, message: '' }),
    (error: ConnectError) => ({ status: undefined, code: codeOf(error), message: error.rawMessage }),
  );

const PAUSED = { status: VmStatus.PAUSED, code: null };
const TOO_LATE = { status: undefined, message: 'it took too long' };

/** What the agent waits for in vain, from the beginning of this file on: a minute in which other tests run. */
const STUCK = [
  { what: 'a pause that is being saved', file: 'lineage.json', call: 'pause', code: 'pause_failed' },
  { what: 'a pause that is being published', file: 'manifest.json', call: 'pause', code: 'pause_failed' },
  { what: 'a fork', file: 'lineage.json', call: 'fork', code: 'snapshot_failed' },
] as const;

let host: Host;
let down: Host;
const stuck: { holder: Holder; outcome: Promise<Outcome>; ended: Promise<Cause> }[] = [];

/** At the beginning of this file an agent died with these pauses under way; it comes back when their deadlines are over. */
const left: Record<'gone' | 'alive' | 'published', Holder | undefined> = {
  ...{ gone: undefined, alive: undefined, published: undefined },
};

beforeAll(async () => {
  [host, down] = await Promise.all([Host.start({ first: 9280, last: 9289 }), Host.start({ first: 9290, last: 9299 })]);
  left.gone = await down.newHolder();
  left.alive = await down.newHolder();
  left.published = await down.newHolder();
  const [gone, alive] = [await down.pauseUntilPublished(left.gone), await down.pauseUntilPublished(left.alive)];
  const published = down.pause(left.published);
  await comes(join(down.folderOf(left.published), 'manifest.json'), published);
  await down.agent.kill();
  await Promise.all([gone.outcome, alive.outcome, published]);
  process.kill(left.gone.vmm, 'SIGKILL');
  await gone.held.letGo();
  await alive.held.letGo();

  for (const { file, call } of STUCK) {
    const holder = await host.newHolder();
    const held = await HeldFile.hold(join(host.folderOf(holder), file));
    const outcome = host[call](holder);
    await held.reached(outcome);
    const isOver = untilEntry(
      host.agent,
      ({ id, path }) => id === `${holder.key.sandboxId}.1` && path === 'continuing',
    );
    // The disk answers then.
    const ended = isOver.then(({ cause }) => held.letGo().then(() => cause));
    ended.catch(() => {}); // whoever waits for it is told
    stuck.push({ holder, outcome, ended });
  }
}, TIMEOUT_MS);

afterAll(async () => {
  await endAgent(host?.root, host?.agent);
  await endAgent(down?.root, down?.agent);
}, TIMEOUT_MS);

test(
  'SN5: the VMM is killed when a pause is saved, before it is published: paused all the same, and the guest as it was',
  async () => {
    const holder = await host.newHolder();
    const { outcome, held } = await host.pauseUntilPublished(holder);
    process.kill(holder.vmm, 'SIGKILL');
    const id = `${holder.key.sandboxId}.1`;
    const exit = await untilEntry(host.agent, (entry) => entry.id === id && entry.event.type === 'VMM_EXITED');
    expect(exit).toMatchObject({ path: 'publishing', event: { signal: 'SIGKILL' } });
    await held.letGo();
    expect(await outcome).toMatchObject(PAUSED);
    await host.isPaused(holder);
  },
  TIMEOUT_MS,
);

describe('a disk that does not answer until the deadline (I3, SN1)', () => {
  test.each(STUCK.map((row, index) => ({ ...row, index })))(
    '$what: it fails as that step does, with the reason, and the guest runs on; the next pause is as good as any',
    async ({ code, index }) => {
      const { holder, outcome, ended } = stuck[index] ?? expect.unreachable();
      expect(await ended).toEqual({ type: 'timer', name: 'SAVE_DEADLINE' });
      expect(await outcome).toEqual({ ...TOO_LATE, code });
      await host.runsOn(holder);
      expect(await readdir(join(host.root.folder, 'snapshots'))).not.toContain('late');
      expect(await host.pause({ ...holder, key: command(holder.key.sandboxId) })).toMatchObject(PAUSED);
      await host.isPaused(holder);
    },
    TIMEOUT_MS,
  );
});

describe('an agent that comes back when the deadline is over (hazard 7)', () => {
  beforeAll(async () => {
    await Promise.all(stuck.map(({ ended }) => ended)); // as long as theirs, and they began later
    down.agent = await AgentProcess.start(down.root);
  }, TIMEOUT_MS);

  test.each([
    ['saved, and the VMM is gone as after a crash of the host', 'gone'],
    ['published, and the VMM may still be there', 'published'],
  ] as const)(
    'a pause that was %s: paused, and the guest as it was',
    async (_, name) => {
      const holder = left[name] ?? expect.unreachable();
      expect(await down.pause(holder)).toMatchObject(PAUSED); // asked again with the same key
      await down.isPaused(holder);
    },
    TIMEOUT_MS,
  );

  test(
    'a pause that was saved, and the VMM is there: it has failed, and the guest runs on',
    async () => {
      const holder = left.alive ?? expect.unreachable();
      expect(await down.pause(holder)).toEqual({ ...TOO_LATE, code: 'pause_failed' });
      await down.runsOn(holder);
    },
    TIMEOUT_MS,
  );
});

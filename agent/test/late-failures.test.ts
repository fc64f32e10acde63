import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import type { Cause } from '@wrenn/core';
import { VmStatus } from '@wrenn/proto/hostagent/v1/hostagent_pb';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { command } from './agent-process.ts';
import { FreezingHost, type Held, type Holder, PAUSED, TOO_LATE } from './freezing-host.ts';
import { comes } from './held-file.ts';
import { endAgent, openLayers } from './leaks.ts';
import { Silencer } from './silencer.ts';

/** The deadline of a save, which is a good minute with 256 MB, and the starts of some VMs on a busy machine. */
const TIMEOUT_MS = 300_000;

let host: FreezingHost;
/** At the beginning of this file an agent dies with pauses under way; it comes back when their deadlines are over. */
let down: FreezingHost;
let left: Record<'gone' | 'alive' | 'published', Holder>;

/** What the agent waits for in vain, from the beginning of this file on: a minute in which other tests run. */
const STUCK = [
  { what: 'a pause that is being saved', place: 'saving', code: 'pause_failed' },
  { what: 'a pause that is being published', place: 'publishing', code: 'pause_failed' },
  { what: 'a fork', place: 'forking', code: 'snapshot_failed' },
] as const;
const stuck: (Pick<Held, 'outcome'> & { holder: Holder; ended: Promise<Cause> })[] = [];
/** VMMs that hang since then. */
const HUNG = [
  { what: 'a pause', place: 'saving' },
  { what: 'a fork', place: 'forking' },
] as const;
const hung: (Pick<Held, 'outcome'> & { holder: Holder })[] = [];

beforeAll(async () => {
  [host, down] = await Promise.all([
    FreezingHost.start({ first: 9280, last: 9289 }),
    FreezingHost.start({ first: 9290, last: 9299 }),
  ]);
  left = { gone: await down.newHolder(), alive: await down.newHolder(), published: await down.newHolder() };
  const held = [await down.holdAt(left.gone, 'publishing'), await down.holdAt(left.alive, 'publishing')];
  const published = down.pause(left.published);
  await comes(join(down.folderOf(left.published), 'manifest.json'), published);
  await down.agent.kill();
  await Promise.all([published, ...held.map(({ outcome }) => outcome)]);
  process.kill(left.gone.vmm, 'SIGKILL');
  await Promise.all(held.map(({ letGo }) => letGo()));

  for (const { place } of HUNG) {
    const holder = await host.newHolder();
    const { outcome, letGo } = await host.holdAt(holder, place);
    process.kill(holder.vmm, 'SIGSTOP');
    await letGo();
    hung.push({ holder, outcome });
  }

  for (const { place } of STUCK) {
    const holder = await host.newHolder();
    const { outcome, letGo } = await host.holdAt(holder, place);
    // The disk answers when the deadline is over.
    const isOver = host.until(holder, ({ path }) => path === 'continuing');
    const ended = isOver.then(({ cause }) => letGo().then(() => cause));
    ended.catch(() => {}); // whoever waits for it is told
    stuck.push({ holder, outcome, ended });
  }
}, TIMEOUT_MS);

afterAll(async () => {
  await endAgent(host?.root, host?.agent);
  await endAgent(down?.root, down?.agent);
}, TIMEOUT_MS);

const exitOf = (holder: Holder) => host.until(holder, ({ event }) => event.type === 'VMM_EXITED');

test(
  'SN5: the VMM is killed when a pause is saved, before it is published: paused all the same, and the guest as it was',
  async () => {
    const holder = await host.newHolder();
    const { outcome, letGo } = await host.holdAt(holder, 'publishing');
    process.kill(holder.vmm, 'SIGKILL');
    expect(await exitOf(holder)).toMatchObject({ path: 'publishing', event: { signal: 'SIGKILL' } });
    await letGo();
    expect(await outcome).toMatchObject(PAUSED);
    await host.isPaused(holder);
  },
  TIMEOUT_MS,
);

test(
  'SN1, I2: the VMM is killed before a pause is saved: crashed, the pause is answered; what was paused before is whole',
  async () => {
    const first = await host.newHolder();
    expect(await host.pause(first)).toMatchObject(PAUSED);
    const holder = await host.resume(first, 2);
    const { outcome, letGo } = await host.holdAt(holder, 'saving');
    process.kill(holder.vmm, 'SIGKILL');
    expect(await exitOf(holder)).toMatchObject({ path: 'crashed' });
    await letGo();
    expect(await outcome).toMatchObject({ code: 'vmm_exited' });
    expect(await host.reportOf(first)).toMatchObject({ status: VmStatus.PAUSED, incarnation: 1 });
    await host.destroy(await host.resume(first, 3));
  },
  TIMEOUT_MS,
);

test(
  'SN10: the VMM is killed in the middle of a fork: crashed, the fork is answered, nothing is left',
  async () => {
    const holder = await host.newHolder();
    const { outcome, letGo } = await host.holdAt(holder, 'forking');
    process.kill(holder.vmm, 'SIGKILL');
    expect(await exitOf(holder)).toMatchObject({ path: 'crashed' });
    await letGo();
    expect(await outcome).toMatchObject({ code: 'vmm_exited' });
    await host.isGone(holder);
  },
  TIMEOUT_MS,
);

test.each(['saving', 'publishing'] as const)(
  'SN13: a destroy while a pause is %s: both are answered, nothing is left',
  async (place) => {
    const holder = await host.newHolder();
    const { outcome, letGo } = await host.holdAt(holder, place);
    const destroyed = host.agent.client.destroySandbox({ command: command(holder.key.sandboxId) });
    await host.until(holder, ({ event }) => event.type === 'DESTROY');
    await letGo();
    expect((await destroyed).report?.status).toBe(VmStatus.GONE);
    expect(await outcome).toMatchObject({ code: 'destroyed' });
    await host.isGone(holder);
  },
  TIMEOUT_MS,
);

test(
  'SN1: a guest that does not answer: the pause and the fork fail with the reason, the VM runs on, the key is kept for the next freeze',
  async () => {
    const holder = await host.newHolder();
    const { guest } = holder;
    const silencer = await Silencer.in(guest, (await host.reportOf(holder))?.hostIp ?? '');
    const keyOf = async () =>
      JSON.parse(await readFile(join(host.folderOf(holder), 'saving/notes.json'), 'utf8')).thaw_key;
    const message = expect.stringContaining('the guest did not freeze its processes');

    const layers = await openLayers(holder.vmm);
    await silencer.silence();
    expect(await host.pause(holder)).toEqual({ status: undefined, code: 'pause_failed', message });
    const key = await keyOf();
    expect(await host.fork({ ...holder, key: command(guest.sandboxId) })).toMatchObject({
      code: 'snapshot_failed',
      message,
    });
    expect(await keyOf()).toBe(key);
    expect((await host.reportOf(holder))?.status).toBe(VmStatus.READY);
    await host.madeNothing(holder);
    expect(await openLayers(holder.vmm)).toEqual(layers);
    await silencer.letGo();
    await guest.holds(holder.count);
    expect(await host.pause({ ...holder, key: command(guest.sandboxId) })).toMatchObject(PAUSED);
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
      await host.madeNothing(holder);
      expect(await host.pause({ ...holder, key: command(holder.key.sandboxId) })).toMatchObject(PAUSED);
      await host.isPaused(holder);
    },
    TIMEOUT_MS,
  );
});

test.each(HUNG.map((row, index) => ({ ...row, index })))(
  'SN1, SN10: a VMM that hangs in the middle of $what is ended with its guest, which is answered, nothing is left',
  async ({ index }) => {
    const { holder, outcome } = hung[index] ?? expect.unreachable();
    expect(await outcome).toMatchObject({ code: 'guest_lost' });
    await host.isGone(holder);
  },
  TIMEOUT_MS,
);

describe('an agent that comes back when the deadline is over (hazard 7)', () => {
  beforeAll(async () => {
    await Promise.all(stuck.map(({ ended }) => ended)); // as long as theirs, and they began later
    await down.restart();
  }, TIMEOUT_MS);

  test.each([
    ['saved, and the VMM is gone as after a crash of the host', 'gone'],
    ['published, and the VMM may still be there', 'published'],
  ] as const)(
    'a pause that was %s: paused, and the guest as it was',
    async (_, name) => {
      expect(await down.pause(left[name])).toMatchObject(PAUSED); // asked again with the same key
      await down.isPaused(left[name]);
    },
    TIMEOUT_MS,
  );

  test(
    'a pause that was saved, and the VMM is there: it has failed, and the guest runs on',
    async () => {
      expect(await down.pause(left.alive)).toEqual({ ...TOO_LATE, code: 'pause_failed' });
      await down.runsOn(left.alive);
    },
    TIMEOUT_MS,
  );
});

import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { SnapshotInfo, VmEvent } from '@wrenn/actors';
import { createLogger, type DomainEvent } from '@wrenn/core';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { openVmJournal, type VmJournal } from '../vm-journal.ts';
import { askToPause } from './pause-sandbox.ts';

const { signal } = new AbortController();
const cause = { type: 'system' } as const;
const SANDBOX = 'sb0000000000000000000a';
const ref = { kind: 'vm', id: `${SANDBOX}.1` };
const target = { sandbox_id: SANDBOX, incarnation: 1, epoch: 1 };
const pause = { sandboxId: SANDBOX, incarnation: 1, vmId: ref.id, key: 'k', epoch: 1, budgetMs: 60_000 };
const timings_ms = {};
const snapshot: SnapshotInfo = {
  ...{ snapshot_id: '', memory_bytes: 1, disk_bytes: 1, generations: 1, freeze_ms: 1, needs: {} },
  ...{ vcpus: 1, memory_mb: 128, disk_size_mb: 1_024 },
};
/** Every step is done at once, unless a test holds it: only the actor is looked at. */
const STEPS: Readonly<Record<string, VmEvent>> = {
  'vm.admit': { type: 'ADMITTED', origin: null },
  'vm.slot': { type: 'SLOT_READY', index: 1, host_ip: '10.11.0.1', guest_ip: '169.254.0.21', namespace: 'wrenn-ns-1' },
  'vm.rootfs': { type: 'ROOTFS_READY', disk: { path: 'disk', format: 'qcow2' } },
  'vm.launch': { type: 'VMM_STARTED', pid: 1, start_time: 1 },
  'vm.await_guest': { type: 'GUEST_READY', timings_ms },
  'vm.quiesce': { type: 'QUIESCED', timings_ms },
  'vm.save': { type: 'SAVED', timings_ms },
  'vm.publish': { type: 'PUBLISHED', snapshot, timings_ms },
  'vm.kill': { type: 'UNDONE', step: 'kill' },
  'vm.unslot': { type: 'UNDONE', step: 'unslot' },
};

let folder: string;
let journal: VmJournal;
/** Steps that wait for their test, by name. */
let holds: Map<string, { begun: PromiseWithResolvers<void>; done: PromiseWithResolvers<DomainEvent> }>;

function hold(name: string) {
  const held = { begun: Promise.withResolvers<void>(), done: Promise.withResolvers<DomainEvent>() };
  holds.set(name, held);
  return { begun: held.begun.promise, end: (event: VmEvent) => held.done.resolve(event as DomainEvent) };
}

function carry(name: string, result: VmEvent | undefined): Promise<DomainEvent> {
  const held = holds.get(name);
  held?.begun.resolve();
  return held?.done.promise ?? Promise.resolve(result as DomainEvent);
}

beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'wrenn-pause-'));
  holds = new Map();
  const names = [...Object.keys(STEPS), 'vm.branch', 'vm.continue'];
  const handlers = Object.fromEntries(names.map((name) => [name, () => carry(name, STEPS[name])]));
  journal = await openVmJournal({ folder, handlers, log: createLogger({ name: 'test', level: 'silent' }) });
  const create = {
    ...{ type: 'CREATE', ...target, key: 'create', budget_ms: 60_000, purpose: 'sandbox', claim: null },
    ...{
      source: { kind: 'kernel' },
      spec: { vcpus: 1, memory_mb: 128, disk_size_mb: 1_024, envs: {}, team_id: 'team' },
    },
  };
  expect(await journal.runtime.ask(ref, create, { cause, signal })).toMatchObject({ ok: true });
});
afterEach(async () => {
  await journal.close();
  await rm(folder, { recursive: true, force: true });
});

test('SN13: a VM that is busy takes no pause now, and takes it with the same key when it is done', async () => {
  const branch = { type: 'BRANCH', ...target, key: 'branch', snapshot_id: 'snap', children: 0 };
  const branched = hold('vm.branch');
  const branching = journal.runtime.ask(ref, branch, { cause, signal });
  await branched.begun;
  await expect(askToPause(journal, pause, signal)).rejects.toThrow('branching');
  branched.end({ type: 'BRANCHED', timings_ms });
  await branching;

  const paused = await askToPause(journal, pause, signal);
  expect(paused).toMatchObject({ ok: true, value: { status: 'paused' } });
  expect(await askToPause(journal, pause, signal)).toEqual(paused);
});

test('SN13: the same pause joins one that is being rolled back, and hears what became of it', async () => {
  const quiesced = hold('vm.quiesce');
  const continued = hold('vm.continue');
  const first = askToPause(journal, pause, signal);
  await quiesced.begun;
  const message = 'no answer';
  quiesced.end({ type: 'STEP_FAILED', step: 'quiesce', code: 'guest_unresponsive', message, retryable: false });
  await continued.begun;
  const second = askToPause(journal, pause, signal);
  continued.end({ type: 'CONTINUED' });
  expect(await second).toMatchObject({ ok: false, error: { code: 'pause_failed' } });
  expect(await first).toEqual(await second);
});

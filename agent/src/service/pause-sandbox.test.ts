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
/** Every step is done at once: only the actor is looked at. */
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
let begun: PromiseWithResolvers<void>;
let branched: PromiseWithResolvers<DomainEvent>;

beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'wrenn-pause-'));
  [begun, branched] = [Promise.withResolvers(), Promise.withResolvers()];
  const done = Object.entries(STEPS).map(([name, event]) => [name, async () => event as DomainEvent] as const);
  const handlers = {
    ...Object.fromEntries(done),
    'vm.branch': () => {
      begun.resolve();
      return branched.promise;
    },
  };
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
  const branching = journal.runtime.ask(ref, branch, { cause, signal });
  await begun.promise;
  await expect(askToPause(journal, pause, signal)).rejects.toThrow('branching');
  // One that came between the look and the message has its refusal, for ever.
  const early = { type: 'PAUSE', ...target, key: 'k' };
  const refused = await journal.runtime.ask(ref, early, { cause, signal, messageId: 'pause:k' });
  expect(refused).toMatchObject({ ok: false, error: { code: 'illegal_command' } });
  branched.resolve({ type: 'BRANCHED', timings_ms });
  await branching;

  const paused = await askToPause(journal, pause, signal);
  expect(paused).toMatchObject({ ok: true, value: { status: 'paused' } });
  expect(await askToPause(journal, pause, signal)).toEqual(paused);
});

import { describe, expect, test } from 'vitest';
import { deadlinesOf, type Explored, explore, statesOf } from '../testing/explore.ts';
import { createSandbox } from '../testing/samples.ts';
import { ID, ready } from '../testing/sandbox-steps.ts';
import { snapshotInfo } from '../testing/snapshot-sample.ts';
import { sandboxDefinition } from './definition.ts';
import type { SandboxContext, SandboxEvent, SandboxSpec, VmFacts } from './events.ts';
import { sandboxMachine } from './machine.ts';

const READY = ready(1);
const RESERVED: SandboxEvent = { type: 'RESERVED', host_id: 'host-1', store_id: 'store-1' };
const NO_ROOM: SandboxEvent = { type: 'PLACE_FAILED', code: 'no_hosts_available', message: 'none' };
const DIED: SandboxEvent = { type: 'VM_DIED', incarnation: 1, code: 'vmm_exited', message: 'ended' };
const LOST: SandboxEvent = { type: 'HOST_LOST', host_id: 'host-1' };
const DELETED: SandboxEvent = { type: 'HOST_DELETED', host_id: 'host-1' };
const PAUSED: SandboxEvent = { type: 'VM_PAUSED', incarnation: 1, snapshot: snapshotInfo, timings_ms: {} };
const END = 1_800_000_000_000;

const facts = (fields: Partial<VmFacts>): VmFacts => ({
  incarnation: 1,
  status: 'gone',
  store_id: 'store-1',
  cursor: 20,
  ...fields,
});
/** What a host may say, as the answer to an inspection and when it comes back. */
const told = (all: VmFacts[]): SandboxEvent[] =>
  all.flatMap((one): SandboxEvent[] => [
    { type: 'INSPECTED', ...one },
    { type: 'HOST_BACK', host_id: 'host-1', ...one },
  ]);

/**
 * Every part of the life is walked with the events that matter to it: all of them together lead to more states than can
 * be walked. What guards do not look at in that part is not told apart.
 */
function walk(
  spec: Partial<SandboxSpec>,
  events: SandboxEvent[],
  distinguish: (context: SandboxContext) => unknown,
): Explored {
  return explore({ definition: sandboxDefinition, id: ID, create: createSandbox(spec), events, distinguish });
}

const startsAndEnds = () =>
  walk(
    { timeout_sec: 60, on_timeout: 'destroy' },
    [
      RESERVED,
      NO_ROOM,
      READY,
      { ...READY, incarnation: 2 },
      { type: 'VM_FAILED', incarnation: 1, code: 'no_slots', message: 'full', retryable: true },
      { type: 'VM_FAILED', incarnation: 1, code: 'bad_image', message: 'broken', retryable: false },
      DIED,
      { type: 'VM_DIED', incarnation: 7, code: 'vmm_exited', message: 'of another one' },
      { type: 'RELEASED', incarnation: 1 },
      { type: 'RELEASED', incarnation: 2 },
      { type: 'ACTIVE', incarnation: 1, idle_ms: 1_000 },
      ...told([
        facts({ status: 'ready', host_ip: '10.11.0.1', guest_ip: '169.254.0.21' }),
        facts({ status: 'starting' }),
        facts({ status: 'crashed', code: 'vmm_exited', message: 'ended' }),
        facts({ status: 'gone', code: 'no_space', message: 'full', retryable: true }),
        facts({}),
        facts({ store_id: 'store-2' }),
        facts({ incarnation: 0, cursor: 1 }),
      ]),
      LOST,
      { type: 'HOST_LOST', host_id: 'host-2' },
      DELETED,
      { type: 'DESTROY' },
      { type: 'DESTROY', wait: false },
      { type: 'PATCH', timeout_sec: 60, ends_at: END },
      { type: 'PATCH', timeout_sec: 0, ends_at: null },
      { type: 'PING' },
    ],
    ({ spec, incarnation, released, away, stop_as, seen, extensions, excluded_hosts }) => [
      spec.timeout_sec,
      spec.ends_at,
      Math.min(incarnation, 3),
      released,
      away,
      stop_as,
      seen?.store_id,
      extensions >= 1,
      excluded_hosts.length,
    ],
  );

const pauses = () =>
  walk(
    { timeout_sec: 60, on_end: 'pause' },
    [
      RESERVED,
      READY,
      PAUSED,
      { type: 'PAUSE_FAILED', incarnation: 1, code: 'pause_failed', message: 'the guest does not answer' },
      { type: 'ACTIVE', incarnation: 1, idle_ms: 1_000 },
      DIED,
      { type: 'VM_FAILED', incarnation: 1, code: 'vmm_exited', message: 'ended', retryable: false },
      { type: 'RELEASED', incarnation: 1 },
      ...told([
        facts({ status: 'ready' }),
        facts({ status: 'paused', snapshot: snapshotInfo }),
        facts({ status: 'releasing' }),
        facts({ status: 'crashed', code: 'vmm_exited', message: 'ended' }),
        facts({}),
        facts({ store_id: 'store-2' }),
      ]),
      LOST,
      DELETED,
      { type: 'PAUSE' },
      { type: 'RESUME', join: true },
      { type: 'PING' },
      { type: 'PATCH', ends_at: END },
      { type: 'PATCH', ends_at: null },
      { type: 'DESTROY' },
    ],
    ({ status, spec, incarnation, paused_incarnation, doing, pause_cause, pause_failures, ...context }) => [
      spec.ends_at,
      Math.min(incarnation, 2),
      Math.min(paused_incarnation, 2),
      status === 'missing' && doing,
      status === 'pausing' && [pause_cause, context.extensions >= 1],
      pause_failures,
      context.resume_waiters.length > 0,
    ],
  );

const resumes = () =>
  walk(
    { ends_at: END },
    [
      RESERVED,
      NO_ROOM,
      READY,
      { ...READY, incarnation: 2 },
      PAUSED,
      { type: 'VM_FAILED', incarnation: 2, code: 'vmm_failed', message: 'ended', retryable: false },
      { type: 'VM_FAILED', incarnation: 2, code: 'snapshot_damaged', message: 'a checksum', retryable: false },
      { type: 'RELEASED', incarnation: 1 },
      ...told([
        facts({ status: 'ready', incarnation: 2 }),
        facts({ status: 'paused', snapshot: snapshotInfo }),
        facts({ status: 'starting', incarnation: 2 }),
        facts({ status: 'crashed', incarnation: 2, code: 'vmm_exited', message: 'ended' }),
        facts({ status: 'gone', incarnation: 2, code: 'vmm_failed', message: 'ended' }),
        facts({ incarnation: 0 }),
        facts({ store_id: 'store-2' }),
      ]),
      LOST,
      DELETED,
      { type: 'PAUSE' },
      { type: 'RESUME' },
      { type: 'RESUME', join: true, timeout_sec: 5, ends_at: END },
      { type: 'PATCH', on_end: 'pause' },
      { type: 'PATCH', on_end: 'kill' },
      { type: 'DESTROY' },
    ],
    ({ status, spec, incarnation, paused_incarnation, doing, away, extensions, resume_waiters, stop_as }) => [
      spec.ends_at,
      spec.on_end,
      Math.min(incarnation, 3),
      paused_incarnation,
      away,
      status === 'missing' && doing,
      status === 'resuming' && extensions,
      resume_waiters.length > 0,
      stop_as,
    ],
  );

const branches = () =>
  walk(
    { timeout_sec: 60, on_end: 'pause', ends_at: END },
    [
      RESERVED,
      READY,
      PAUSED,
      { type: 'BRANCHED', incarnation: 1, snapshot: snapshotInfo },
      { type: 'BRANCH_FAILED', incarnation: 1, code: 'snapshot_failed', message: 'the disk is full' },
      DIED,
      LOST,
      { type: 'PAUSE' },
      { type: 'SNAPSHOT', snapshot_id: 'tpl-1', name: 'one', created_by: 'usr-1' },
      {
        type: 'FORK',
        snapshot_id: 'tpl-2',
        children: [{ sandbox_id: 'sb00000000000000000002', access_token: 'a', traffic_token: 't' }],
        created_by: 'usr-1',
      },
      { type: 'DESTROY' },
    ],
    ({ operation, status, paused_incarnation, pause_cause }) => [
      operation?.type,
      paused_incarnation,
      status === 'pausing' && pause_cause,
    ],
  );

describe('the graph', () => {
  const explored = [startsAndEnds(), pauses(), resumes(), branches()];

  test('every state is reached, and every transition is taken', () => {
    const reached = (state: string) => explored.some(({ states }) => states.has(state));
    expect(statesOf(sandboxMachine).filter((state) => !reached(state))).toEqual([]);
    const [first, ...others] = explored.map(({ untaken }) => new Set(untaken));
    const untaken = [...(first ?? [])].filter((name) => others.every((other) => other.has(name)));
    expect(untaken).toEqual([]);
    for (const { edges } of explored) expect(edges).toBeGreaterThan(100);
  });

  test('every work state has a deadline (I3)', () => {
    const work = deadlinesOf(sandboxMachine);
    expect(work.map(({ state }) => state)).toEqual([
      'placing',
      'starting.waiting',
      'starting.inspecting',
      'running.idle.checking',
      'running.operation.snapshotting',
      'running.operation.forking',
      'pausing.waiting',
      'pausing.inspecting',
      'paused.operation.snapshotting',
      'paused.operation.forking',
      'resuming.reserving',
      'resuming.restoring.waiting',
      'resuming.restoring.inspecting',
      'stopping',
    ]);
    expect(work.filter(({ delays }) => delays.length === 0)).toEqual([]);
  });
});

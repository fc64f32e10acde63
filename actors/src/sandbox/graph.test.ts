import { describe, expect, test } from 'vitest';
import { deadlinesOf, explore, statesOf } from '../testing/explore.ts';
import { createSandbox } from '../testing/samples.ts';
import { sandboxDefinition } from './definition.ts';
import type { SandboxEvent, VmFacts, VmReady } from './events.ts';
import { sandboxMachine } from './machine.ts';

const ID = 'sb00000000000000000001';
const READY: VmReady = {
  type: 'VM_READY',
  incarnation: 1,
  host_ip: '10.11.0.1',
  guest_ip: '169.254.0.21',
  timings_ms: { boot: 2_000 },
  store_id: 'store-1',
  cursor: 10,
};

describe('the graph', () => {
  const facts = (fields: Partial<VmFacts>): VmFacts => ({ incarnation: 1, status: 'gone', ...fields });
  const inspected: VmFacts[] = [
    facts({ status: 'ready', host_ip: '10.11.0.1', guest_ip: '169.254.0.21', store_id: 'store-1', cursor: 5 }),
    facts({ status: 'starting' }),
    facts({ status: 'crashed', code: 'vmm_exited', message: 'ended' }),
    facts({ status: 'gone', code: 'no_space', message: 'full', retryable: true }),
    facts({ status: 'gone', store_id: 'store-1', cursor: 20 }),
    facts({ status: 'gone', store_id: 'store-2', cursor: 20 }),
    facts({ status: 'gone', incarnation: 0, store_id: 'store-1', cursor: 1 }),
  ];
  const events: SandboxEvent[] = [
    { type: 'RESERVED', host_id: 'host-1', store_id: 'store-1' },
    { type: 'PLACE_FAILED', code: 'no_hosts_available', message: 'none' },
    READY,
    { ...READY, incarnation: 2 },
    { type: 'VM_FAILED', incarnation: 1, code: 'no_slots', message: 'full', retryable: true },
    { type: 'VM_FAILED', incarnation: 1, code: 'bad_image', message: 'broken', retryable: false },
    { type: 'VM_DIED', incarnation: 1, code: 'vmm_exited', message: 'ended', console_tail: 'panic' },
    { type: 'VM_DIED', incarnation: 7, code: 'vmm_exited', message: 'of another one' },
    { type: 'RELEASED', incarnation: 1 },
    { type: 'RELEASED', incarnation: 2 },
    { type: 'ACTIVE', incarnation: 1, idle_ms: 1_000 },
    ...inspected.map((one) => ({ type: 'INSPECTED' as const, ...one })),
    ...inspected.map((one) => ({ type: 'HOST_BACK' as const, host_id: 'host-1', ...one })),
    { type: 'HOST_LOST', host_id: 'host-1' },
    { type: 'HOST_LOST', host_id: 'host-2' },
    { type: 'HOST_DELETED', host_id: 'host-1' },
    { type: 'DESTROY' },
    { type: 'DESTROY', wait: false },
    { type: 'PATCH', timeout_sec: 60, ends_at: 1_800_000_000_000 },
    { type: 'PATCH', timeout_sec: 0, ends_at: null },
    { type: 'PING' },
  ];
  const explored = explore({
    definition: sandboxDefinition,
    id: ID,
    create: createSandbox({ timeout_sec: 60 }),
    events,
    distinguish: ({ spec, incarnation, released, away, stop_as, seen, extensions, excluded_hosts }) => [
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
  });

  test('every state is reached, and every transition is taken', () => {
    expect(statesOf(sandboxMachine).filter((state) => !explored.states.has(state))).toEqual([]);
    expect(explored.untaken).toEqual([]);
    expect(explored.edges).toBeGreaterThan(1_000);
  });

  test('every work state has a deadline (I3)', () => {
    const work = deadlinesOf(sandboxMachine);
    expect(work.map(({ state }) => state)).toEqual([
      'placing',
      'starting.waiting',
      'starting.inspecting',
      'running.idle.checking',
      'stopping',
    ]);
    expect(work.filter(({ delays }) => delays.length === 0)).toEqual([]);
  });
});

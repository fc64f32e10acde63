import { describe, expect, test } from 'vitest';
import { PreparedMachine } from '../../../core/src/step/prepared-machine.ts';
import { type ActorRow, restoreActor } from '../../../core/src/step/stored-actor.ts';
import { sandboxSpec } from '../testing/samples.ts';
import { sandboxDefinition } from './definition.ts';
import type { SandboxContext } from './events.ts';

/** A sandbox as version 1 stored it. */
function stored(value: unknown, changes: Partial<SandboxContext> = {}): ActorRow {
  const { snapshot: _none, ...spec } = sandboxSpec({ timeout_sec: 60 });
  const context = {
    sandbox_id: 'sb00000000000000000001',
    spec,
    created_at: 1,
    status: 'running',
    status_since: 1,
    incarnation: 1,
    host_id: 'host-1',
    host_ip: '10.11.0.1',
    guest_ip: '169.254.0.21',
    excluded_hosts: [],
    extensions: 0,
    seen: null,
    started_at: 1,
    last_active_at: 1,
    timings_ms: {},
    reason: null,
    console_tail: null,
    away: false,
    released: false,
    stop_as: 'stopped',
    create_waiter: null,
    destroy_waiters: [],
    ...changes,
  };
  return {
    kind: 'sandbox',
    id: 'sb00000000000000000001',
    seq: 4,
    machineVersion: 1,
    state: value as never,
    path: '',
    tags: [],
    snapshot: { status: 'active', value, context } as never,
    ledger: { counter: 3, visits: {}, owed: [] },
    teamId: 'team-1',
    createdAt: 1,
    since: 1,
    updatedAt: 1,
    done: false,
  };
}

const machine = new PreparedMachine(sandboxDefinition);
const restored = (row: ActorRow) => restoreActor(machine, row, [], []);

describe('snapshots of version 1', () => {
  test('a running one stands where it stood, and can do what is new', () => {
    const state = restored(stored({ running: { idle: 'armed', lifetime: 'off', operation: 'none' } }));
    expect(state.path).toBe('running.idle.armed+running.lifetime.off+running.operation.none');
    expect(state.machineVersion).toBe(2);
    expect(state.snapshot.context).toMatchObject({ paused_incarnation: 0, operation: null, spec: { snapshot: null } });
    const meta = { id: 'm', at: 2, cause: { type: 'system' } } as const;
    expect(machine.can(state.snapshot, { type: 'PAUSE' }, meta)).toBe(true);
    const step = machine.step(state.snapshot, { type: 'PAUSE' } as never, meta);
    expect(step.snapshot.value).toEqual({ pausing: 'waiting' });
  });

  test('a missing one remembers whether it ever ran', () => {
    const ran = restored(stored('missing', { status: 'missing' }));
    expect(ran.snapshot.context.doing).toBe('running');
    const never = restored(stored('missing', { status: 'missing', started_at: null }));
    expect(never.snapshot.context.doing).toBe('starting');
  });

  test.each(['placing', { starting: 'waiting' }, { starting: 'inspecting' }, 'stopping', 'error'])('%j', (value) => {
    expect(restored(stored(value)).snapshot.value).toEqual(value);
  });
});

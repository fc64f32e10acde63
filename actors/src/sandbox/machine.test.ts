import { describe, expect, test } from 'vitest';
import { ActorInMemory } from '../testing/actor-in-memory.ts';
import { checkActor, checkAllAnswered } from '../testing/invariants.ts';
import { createSandbox } from '../testing/samples.ts';
import { ID, ready } from '../testing/sandbox-steps.ts';
import { testClock } from '../testing/test-clock.ts';
import { sandboxDefinition } from './definition.ts';
import type { HostBack, SandboxContext, SandboxSpec, VmFacts } from './events.ts';
import { SANDBOX_COLUMNS, status } from './project.ts';

const READY = ready(1);

const clock = testClock();

function placed(changes: Partial<SandboxSpec> = {}): ActorInMemory<SandboxContext> {
  const sandbox = new ActorInMemory(sandboxDefinition, ID, clock);
  sandbox.send(createSandbox(changes), { id: 'create' });
  sandbox.result('sandbox.place', { type: 'RESERVED', host_id: 'host-1', store_id: 'store-1' });
  return sandbox;
}

function running(changes: Partial<SandboxSpec> = {}): ActorInMemory<SandboxContext> {
  const sandbox = placed(changes);
  sandbox.result('vm.create', READY);
  expect(status(sandbox.view)).toBe('running');
  return sandbox;
}

const back = (facts: Partial<VmFacts>): HostBack => ({
  type: 'HOST_BACK',
  host_id: 'host-1',
  incarnation: 1,
  status: 'gone',
  store_id: 'store-1',
  cursor: 10,
  ...facts,
});
const answersOf = (sandbox: ActorInMemory<SandboxContext>, id: string) => sandbox.answers.get(id);

describe('create', () => {
  test('is answered when it runs, once', () => {
    const sandbox = placed();
    expect(answersOf(sandbox, 'create')).toBeUndefined();
    sandbox.result('vm.create', READY);
    expect(answersOf(sandbox, 'create')).toEqual([{ ok: true, value: { sandbox_id: ID, status: 'running' } }]);
    checkAllAnswered(sandbox as never);
    expect(sandbox.tables.get('sandboxes')?.get(ID)).toMatchObject({ status: 'running', host_ip: '10.11.0.1' });
  });

  test('without waiting is answered by its own commit', () => {
    const sandbox = new ActorInMemory(sandboxDefinition, ID, clock);
    sandbox.send(createSandbox({}, false), { id: 'create' });
    expect(answersOf(sandbox, 'create')).toEqual([{ ok: true, value: { sandbox_id: ID, status: 'pending' } }]);
    checkAllAnswered(sandbox as never);
  });

  test('with no host is an error, nothing reserved', () => {
    const sandbox = new ActorInMemory(sandboxDefinition, ID, clock);
    sandbox.send(createSandbox(), { id: 'create' });
    sandbox.fire('PLACE_DEADLINE');
    expect(answersOf(sandbox, 'create')).toMatchObject([{ ok: false, error: { code: 'no_hosts_available' } }]);
    expect(status(sandbox.view)).toBe('error');
    expect(sandbox.send({ type: 'DESTROY' }, { id: 'destroy' })).toBe('transition');
    expect(answersOf(sandbox, 'destroy')).toEqual([{ ok: true, value: { sandbox_id: ID, status: 'stopped' } }]);
  });

  test('tries at most two more hosts, each with an incarnation of its own (I1)', () => {
    const sandbox = placed();
    for (const incarnation of [1, 2]) {
      expect(sandbox.context.incarnation).toBe(incarnation);
      sandbox.result('vm.create', {
        type: 'VM_FAILED',
        incarnation,
        code: 'no_slots_available',
        message: 'full',
        retryable: true,
      });
      expect(sandbox.path).toBe('placing');
      expect(sandbox.context.excluded_hosts).toHaveLength(incarnation);
      sandbox.result('sandbox.place', { type: 'RESERVED', host_id: `host-${incarnation + 1}` });
    }
    sandbox.result('vm.create', {
      type: 'VM_FAILED',
      incarnation: 3,
      code: 'no_slots_available',
      message: 'full',
      retryable: true,
    });
    expect(sandbox.path).toBe('stopping');
    sandbox.result('vm.destroy', { type: 'RELEASED', incarnation: 3 });
    expect(sandbox.path).toBe('error');
    expect(answersOf(sandbox, 'create')).toMatchObject([{ ok: false, error: { code: 'no_slots_available' } }]);
  });

  test('a report of an earlier incarnation is not heard (I1)', () => {
    const sandbox = placed();
    sandbox.result('vm.create', { type: 'VM_FAILED', incarnation: 1, code: 'x', message: 'x', retryable: true });
    sandbox.result('sandbox.place', { type: 'RESERVED', host_id: 'host-2' });
    expect(sandbox.send(READY)).toBe('late');
    expect(sandbox.send({ type: 'VM_DIED', incarnation: 1, code: 'x', message: 'x' })).toBe('late');
    expect(sandbox.path).toBe('starting.waiting');
  });

  test('a deadline asks the host and does not decide', () => {
    const sandbox = placed();
    const key = sandbox.key('vm.create');
    sandbox.fire('START_DEADLINE');
    expect(sandbox.path).toBe('starting.inspecting');
    expect(sandbox.key('vm.create')).toBe(key); // still open: its result is as good as the report
    sandbox.result('vm.inspect', { type: 'INSPECTED', incarnation: 1, status: 'starting' });
    expect(sandbox.path).toBe('starting.waiting');
    sandbox.fire('START_DEADLINE');
    sandbox.result('vm.create', READY);
    expect(status(sandbox.view)).toBe('running');
  });

  test('a host that says nothing makes it missing, and the asker hears of it', () => {
    const sandbox = placed();
    sandbox.fire('START_DEADLINE');
    sandbox.fire('INSPECT_DEADLINE');
    expect(sandbox.path).toBe('missing');
    expect(answersOf(sandbox, 'create')).toMatchObject([{ ok: false, error: { code: 'host_unreachable' } }]);
    checkAllAnswered(sandbox as never);
  });
});

describe('missing is reversible', () => {
  function missing(): ActorInMemory<SandboxContext> {
    const sandbox = running();
    sandbox.send({ type: 'HOST_LOST', host_id: 'host-1' });
    expect(status(sandbox.view)).toBe('missing');
    return sandbox;
  }

  test('alive again: running, as if nothing had been', () => {
    const sandbox = missing();
    sandbox.send(back({ status: 'ready', host_ip: '10.11.0.1', cursor: 11 }));
    expect(status(sandbox.view)).toBe('running');
    expect(sandbox.context.reason).toBeNull();
    expect(sandbox.audits.map(({ action }) => action)).toContain('sandbox.recovered');
  });

  test('gone counts only from the same store and not from before what it said last', () => {
    const sandbox = missing();
    for (const facts of [{ store_id: 'store-2', cursor: 99 }, { cursor: 9 }]) {
      expect(sandbox.send(back(facts))).toBe('late');
      expect(sandbox.path).toBe('missing');
    }
    sandbox.send(back({ cursor: 10 }));
    expect(sandbox.path).toBe('stopping');
    sandbox.result('vm.destroy', { type: 'RELEASED', incarnation: 1 });
    expect(sandbox.path).toBe('stopped');
    expect(sandbox.context.reason?.code).toBe('lost_on_host');
  });

  test('a running one goes missing when its host comes back with another store', () => {
    const sandbox = running();
    sandbox.send(back({ store_id: 'store-2', cursor: 1, incarnation: 0 }));
    expect(sandbox.path).toBe('missing');
    expect(sandbox.context.reason?.code).toBe('host_without_data');
  });

  test('of another host nothing is heard', () => {
    const sandbox = running();
    expect(sandbox.send({ type: 'HOST_LOST', host_id: 'host-2' })).toBe('late');
    expect(sandbox.send({ ...back({}), host_id: 'host-2' })).toBe('late');
  });

  test('crashed meanwhile: error, with the console kept', () => {
    const sandbox = missing();
    sandbox.send(back({ status: 'gone', code: 'vmm_exited', message: 'panic', console_tail: 'Kernel panic' }));
    sandbox.result('vm.destroy', { type: 'RELEASED', incarnation: 1 });
    expect(status(sandbox.view)).toBe('error');
    expect(sandbox.context).toMatchObject({ reason: { code: 'vmm_exited' }, console_tail: 'Kernel panic' });
  });

  test('destroy is accepted at once and done when the host is back', () => {
    const sandbox = missing();
    sandbox.send({ type: 'DESTROY' }, { id: 'destroy' });
    expect(answersOf(sandbox, 'destroy')).toEqual([{ ok: true, value: { sandbox_id: ID, status: 'stopping' } }]);
    sandbox.fire('STOP_REVIEW');
    expect(sandbox.path).toBe('stopping');
    sandbox.result('vm.destroy', { type: 'RELEASED', incarnation: 1 });
    expect(sandbox.path).toBe('stopped');
  });
});

describe('destroy', () => {
  test('a second one while stopping is answered too', () => {
    const sandbox = running();
    sandbox.send({ type: 'DESTROY' }, { id: 'first' });
    sandbox.send({ type: 'DESTROY' }, { id: 'second' });
    expect(sandbox.answers.has('first')).toBe(false);
    sandbox.result('vm.destroy', { type: 'RELEASED', incarnation: 1 });
    for (const id of ['first', 'second']) {
      expect(answersOf(sandbox, id)).toEqual([{ ok: true, value: { sandbox_id: ID, status: 'stopped' } }]);
    }
    expect(sandbox.send({ type: 'DESTROY' })).toBe('refused');
  });

  test('while it starts fails the create, and the host buries the incarnation', () => {
    const sandbox = placed();
    const late = sandbox.key('vm.create');
    sandbox.send({ type: 'DESTROY' });
    expect(sandbox.send(READY, { effectKey: late })).toBe('late'); // I4
    expect(sandbox.effects.map(({ name }) => name)).toEqual(['vm.destroy']);
    sandbox.result('vm.destroy', { type: 'RELEASED', incarnation: 1 });
    expect(answersOf(sandbox, 'create')).toMatchObject([{ ok: false, error: { code: 'destroyed' } }]);
  });

  test('askers do not wait for a host that gets lost', () => {
    const sandbox = running();
    sandbox.send({ type: 'DESTROY' }, { id: 'destroy' });
    sandbox.send({ type: 'HOST_LOST', host_id: 'host-1' });
    expect(answersOf(sandbox, 'destroy')).toEqual([{ ok: true, value: { sandbox_id: ID, status: 'stopping' } }]);
    sandbox.send({ type: 'HOST_DELETED', host_id: 'host-1' });
    expect(sandbox.path).toBe('stopped');
    checkActor(sandbox as never);
  });

  test('an error keeps what can be inspected until then', () => {
    const sandbox = running();
    sandbox.send({
      type: 'VM_DIED',
      incarnation: 1,
      code: 'vmm_exited',
      message: 'killed',
      console_tail: 'last words',
    });
    expect(sandbox.path).toBe('error');
    expect(sandbox.tables.get('reservations')?.size).toBe(0);
    sandbox.send({ type: 'DESTROY' }, { id: 'destroy' });
    expect(sandbox.path).toBe('stopping');
    expect(sandbox.context.console_tail).toBe('last words');
    sandbox.result('vm.destroy', { type: 'RELEASED', incarnation: 1 });
    expect(sandbox.path).toBe('stopped');
  });
});

describe('idleness and lifetime (SN7, SN8, SN15)', () => {
  const leftOf = (sandbox: ActorInMemory<SandboxContext>, delay: string) =>
    (sandbox.timers.find((timer) => timer.delay === delay)?.dueAt ?? Number.NaN) - clock.now;

  test('with on_timeout destroy the timer asks; activity sets it anew; idleness ends it', () => {
    const sandbox = running({ timeout_sec: 60, on_timeout: 'destroy' });
    expect(leftOf(sandbox, 'IDLE')).toBe(60_000);
    sandbox.fire('IDLE');
    expect(sandbox.effects).toMatchObject([{ name: 'vm.idle_check', input: { idle_ms: 60_000, incarnation: 1 } }]);
    sandbox.result('vm.idle_check', { type: 'ACTIVE', incarnation: 1, idle_ms: 12_000 });
    expect(leftOf(sandbox, 'IDLE')).toBe(48_000);
    expect(sandbox.context.last_active_at).toBe(clock.now - 12_000);
    sandbox.fire('IDLE');
    sandbox.result('vm.idle_check', { type: 'RELEASED', incarnation: 1 });
    expect(sandbox.path).toBe('stopped');
    expect(sandbox.context.reason?.code).toBe('idle_timeout');
    expect(sandbox.audits.map(({ action }) => action)).toContain('sandbox.auto_destroy');
  });

  test('a ping and a changed timeout_sec count at once', () => {
    const sandbox = running({ timeout_sec: 60 });
    clock.now += 50_000;
    sandbox.send({ type: 'PING' });
    expect(leftOf(sandbox, 'IDLE')).toBe(60_000);
    clock.now += 10_000;
    sandbox.send({ type: 'PATCH', timeout_sec: 100 });
    expect(leftOf(sandbox, 'IDLE')).toBe(90_000);
    sandbox.send({ type: 'PATCH', timeout_sec: 0 });
    expect(sandbox.timers).toEqual([]);
  });

  test('a check without an answer decides nothing', () => {
    const sandbox = running({ timeout_sec: 60, on_timeout: 'destroy' });
    sandbox.fire('IDLE');
    sandbox.fire('IDLE_CHECK_DEADLINE');
    expect(sandbox.path).toContain('running.idle.armed');
    // The host had destroyed it all the same, and reports it.
    sandbox.send({ type: 'RELEASED', incarnation: 1 });
    expect(sandbox.path).toBe('stopped');
  });

  test('ends_at ends it, also when it is set while it runs', () => {
    const sandbox = running();
    sandbox.send({ type: 'PATCH', ends_at: clock.now + 5_000 });
    expect(leftOf(sandbox, 'LIFETIME')).toBe(5_000);
    sandbox.fire('LIFETIME');
    expect(sandbox.path).toBe('stopping');
    expect(sandbox.context.reason?.code).toBe('lifetime_ended');
  });

  test('timers are those of before after a restart', () => {
    const sandbox = running({ timeout_sec: 60, on_timeout: 'destroy' });
    const before = sandbox.timers;
    sandbox.restart();
    expect(sandbox.timers).toEqual(before);
    sandbox.fire('IDLE');
    expect(sandbox.path).toContain('running.idle.checking');
  });
});

describe('what others see', () => {
  test('the row has all columns of API1', () => {
    const row = running().tables.get('sandboxes')?.get(ID) ?? {};
    expect(Object.keys(row)).toEqual([...SANDBOX_COLUMNS]);
    expect(row.started_at).toBe(new Date(clock.now).toISOString());
  });

  test('no secret leaves with the public context', () => {
    const shown = JSON.stringify(sandboxDefinition.publicContext?.(running().context));
    expect(shown).toContain('minimal');
    expect(shown).not.toContain('secret');
  });

  test('status_since stands while only the inside changes', () => {
    const sandbox = running({ timeout_sec: 60, on_timeout: 'destroy' });
    const since = sandbox.context.status_since;
    sandbox.fire('IDLE');
    sandbox.result('vm.idle_check', { type: 'ACTIVE', incarnation: 1, idle_ms: 0 });
    expect(sandbox.context.status_since).toBe(since);
  });
});

import { beforeEach, describe, expect, test } from 'vitest';
import { ActorInMemory, Clock } from '../testing/actor-in-memory.ts';
import { checkActor, checkAllAnswered, checkReplay } from '../testing/invariants.ts';
import { createSandbox } from '../testing/samples.ts';
import { snapshotInfo } from '../testing/snapshot-sample.ts';
import { sandboxDefinition } from './definition.ts';
import type { HostBack, SandboxContext, SandboxSpec, VmFacts } from './events.ts';
import { holdsVm, status } from './project.ts';

type Sandbox = ActorInMemory<SandboxContext>;

const ID = 'sb00000000000000000001';
const ready = (incarnation: number) => ({
  type: 'VM_READY',
  incarnation,
  host_ip: '10.11.0.1',
  guest_ip: '169.254.0.21',
  timings_ms: {},
  store_id: 'store-1',
  cursor: 10,
});
const vmPaused = (incarnation: number) => ({
  type: 'VM_PAUSED',
  incarnation,
  snapshot: snapshotInfo,
  timings_ms: { freeze: 2 },
});
const PAUSE_FAILED = { type: 'PAUSE_FAILED', incarnation: 1, code: 'pause_failed', message: 'the disk is full' };
const RESERVED = { type: 'RESERVED', host_id: 'host-1', store_id: 'store-1' };
const LOST = { type: 'HOST_LOST', host_id: 'host-1' };
const back = (facts: Partial<VmFacts>): HostBack => ({
  type: 'HOST_BACK',
  host_id: 'host-1',
  incarnation: 1,
  status: 'paused',
  snapshot: snapshotInfo,
  store_id: 'store-1',
  cursor: 20,
  ...facts,
});

let clock: Clock;
beforeEach(() => {
  clock = new Clock();
});

function running(changes: Partial<SandboxSpec> = {}): Sandbox {
  const sandbox = new ActorInMemory(sandboxDefinition, ID, clock);
  sandbox.send(createSandbox(changes), { id: 'create' });
  sandbox.result('sandbox.place', RESERVED);
  sandbox.result('vm.create', ready(1));
  return sandbox;
}

function paused(changes: Partial<SandboxSpec> = {}): Sandbox {
  const sandbox = running(changes);
  sandbox.send({ type: 'PAUSE' }, { id: 'pause' });
  sandbox.result('vm.pause', vmPaused(1));
  expect(status(sandbox.view)).toBe('paused');
  return sandbox;
}

function restoring(changes: Partial<SandboxSpec> = {}): Sandbox {
  const sandbox = paused(changes);
  sandbox.send({ type: 'RESUME' }, { id: 'resume' });
  sandbox.result('sandbox.reserve', RESERVED);
  expect(sandbox.path).toBe('resuming.restoring.waiting');
  return sandbox;
}

const answerOf = (sandbox: Sandbox, id: string) => sandbox.answers.get(id);
const done = (state: string) => [{ ok: true, value: { sandbox_id: ID, status: state } }];
const actions = (sandbox: Sandbox) => sandbox.audits.map(({ action }) => action);
const check = (sandbox: Sandbox) => {
  checkActor(sandbox as never);
  checkReplay(sandbox as never);
};

describe('pause', () => {
  test('is answered when only files are left; nothing is held then (I6)', () => {
    const sandbox = running();
    sandbox.send({ type: 'PAUSE' }, { id: 'pause' });
    expect(sandbox.effects).toMatchObject([{ name: 'vm.pause', input: { if_idle_ms: null, incarnation: 1 } }]);
    expect(holdsVm(sandbox.view)).toBe(true);
    sandbox.result('vm.pause', vmPaused(1));
    expect(answerOf(sandbox, 'pause')).toEqual(done('paused'));
    expect(holdsVm(sandbox.view)).toBe(false);
    expect(sandbox.tables.get('sandboxes')?.get(ID)).toMatchObject({
      status: 'paused',
      host_ip: null,
      snapshot_memory_bytes: snapshotInfo.memory_bytes,
      unreachable: false,
    });
    expect(actions(sandbox)).toContain('sandbox.pause');
    expect(actions(sandbox)).not.toContain('sandbox.auto_pause');
    checkAllAnswered(sandbox as never);
    check(sandbox);
  });

  test('that fails leaves it running, with the reason', () => {
    const sandbox = running();
    sandbox.send({ type: 'PAUSE' }, { id: 'pause' });
    sandbox.result('vm.pause', PAUSE_FAILED);
    expect(status(sandbox.view)).toBe('running');
    expect(answerOf(sandbox, 'pause')).toMatchObject([{ ok: false, error: { code: 'pause_failed' } }]);
    expect(sandbox.context.reason).toEqual({ code: 'pause_failed', message: 'the disk is full' });
    check(sandbox);
  });

  test('whose host says nothing asks, and the report decides; none: missing', () => {
    const reports: [Partial<VmFacts>, string][] = [
      [{ status: 'paused', snapshot: snapshotInfo }, 'paused'],
      [{ status: 'ready' }, 'running'],
      [{ status: 'releasing' }, 'pausing'],
      [{ status: 'crashed', code: 'vmm_exited', message: 'ended' }, 'error'],
      [{ status: 'gone', store_id: 'store-1', cursor: 30 }, 'stopping'],
      [{ status: 'gone', store_id: 'store-2', cursor: 1 }, 'missing'],
    ];
    for (const [facts, after] of reports) {
      const sandbox = running();
      sandbox.send({ type: 'PAUSE' }, { id: 'pause' });
      sandbox.fire('PAUSE_DEADLINE');
      expect(sandbox.key('vm.pause')).toBeDefined();
      sandbox.result('vm.inspect_pause', { type: 'INSPECTED', incarnation: 1, ...facts });
      expect([facts, status(sandbox.view)]).toEqual([facts, after]);
      expect([facts, answerOf(sandbox, 'pause')?.[0]?.ok]).toEqual([
        facts,
        after === 'paused' ? true : after === 'pausing' ? undefined : false,
      ]);
      check(sandbox);
    }
    const silent = running();
    silent.send({ type: 'PAUSE' }, { id: 'pause' });
    silent.fire('PAUSE_DEADLINE');
    silent.fire('INSPECT_DEADLINE');
    expect(status(silent.view)).toBe('missing');
    silent.send(back({}));
    expect(status(silent.view)).toBe('paused');
    expect(answerOf(silent, 'pause')).toMatchObject([{ ok: false, error: { code: 'host_unreachable' } }]);
  });

  test('that comes to be after all is heard, whatever was thought of it', () => {
    const sandbox = running();
    sandbox.send({ type: 'PAUSE' }, { id: 'pause' });
    sandbox.result('vm.pause', PAUSE_FAILED);
    sandbox.send(vmPaused(1));
    expect(status(sandbox.view)).toBe('paused');
  });

  test('a VM that dies meanwhile is an error, and who asked hears of it', () => {
    const sandbox = running();
    sandbox.send({ type: 'PAUSE' }, { id: 'pause' });
    sandbox.send({ type: 'VM_DIED', incarnation: 1, code: 'vmm_exited', message: 'killed' });
    expect(status(sandbox.view)).toBe('error');
    expect(answerOf(sandbox, 'pause')).toMatchObject([{ ok: false, error: { code: 'vmm_exited' } }]);
  });
});

describe('idleness (SN7) and lifetime (SN15)', () => {
  const leftOf = (sandbox: Sandbox, delay: string) =>
    (sandbox.timers.find((timer) => timer.delay === delay)?.dueAt ?? Number.NaN) - clock.now;

  test('timeout_sec: 10 asks after 10 s; activity sets it anew from when it was', () => {
    const sandbox = running({ timeout_sec: 10 });
    expect(leftOf(sandbox, 'IDLE')).toBe(10_000);
    sandbox.fire('IDLE');
    expect(sandbox.effects).toMatchObject([{ name: 'vm.pause', input: { if_idle_ms: 10_000 } }]);
    sandbox.result('vm.pause', { type: 'ACTIVE', incarnation: 1, idle_ms: 4_000 });
    expect(status(sandbox.view)).toBe('running');
    expect(leftOf(sandbox, 'IDLE')).toBe(6_000);
    sandbox.fire('IDLE');
    sandbox.result('vm.pause', vmPaused(1));
    expect(sandbox.context.reason?.code).toBe('idle_timeout');
    expect(actions(sandbox)).toContain('sandbox.auto_pause');
    check(sandbox);
  });

  test('activity just before it is asked is found at most 2 s later: paused 10 to 13 s after the last', () => {
    const sandbox = running({ timeout_sec: 10 });
    sandbox.fire('IDLE');
    sandbox.result('vm.pause', { type: 'ACTIVE', incarnation: 1, idle_ms: 9_990 });
    expect(leftOf(sandbox, 'IDLE')).toBe(2_000);
    expect(clock.now + 2_000 - (sandbox.context.last_active_at ?? 0)).toBeLessThan(13_000);
  });

  test('three pauses that fail end it; activity between counts them anew', () => {
    const sandbox = running({ timeout_sec: 10 });
    for (const failures of [1, 2]) {
      sandbox.fire('IDLE');
      sandbox.result('vm.pause', PAUSE_FAILED);
      expect(sandbox.context.pause_failures).toBe(failures);
      expect(leftOf(sandbox, 'IDLE')).toBe(10_000);
    }
    sandbox.send({ type: 'PING' });
    expect(sandbox.context.pause_failures).toBe(0);
    for (const _ of [1, 2, 3]) {
      sandbox.fire('IDLE');
      sandbox.result('vm.pause', PAUSE_FAILED);
    }
    expect(sandbox.path).toBe('stopping');
    expect(sandbox.context.reason?.code).toBe('pause_impossible');
    expect(actions(sandbox)).toContain('sandbox.auto_destroy');
  });

  test("somebody's PAUSE while a timer only asks is a pause whatever the host knows of activity", () => {
    const sandbox = running({ timeout_sec: 10 });
    sandbox.fire('IDLE');
    const asked = sandbox.key('vm.pause');
    expect(sandbox.send({ type: 'PAUSE' }, { id: 'pause' })).toBe('transition');
    expect(sandbox.effects).toMatchObject([{ name: 'vm.pause', input: { if_idle_ms: null } }]);
    expect(sandbox.send({ type: 'ACTIVE', incarnation: 1, idle_ms: 0 }, { effectKey: asked })).toBe('late');
    sandbox.result('vm.pause', vmPaused(1));
    expect(answerOf(sandbox, 'pause')).toEqual(done('paused'));
  });

  test('a snapshot under way puts a timer off', () => {
    const sandbox = running({ timeout_sec: 10, ends_at: clock.now + 20_000, on_end: 'pause' });
    sandbox.send({ type: 'SNAPSHOT', snapshot_id: 'tpl-1', name: 'one', created_by: 'usr-1' }, { id: 'snapshot' });
    sandbox.fire('IDLE');
    expect(status(sandbox.view)).toBe('running');
    sandbox.fire('LIFETIME');
    expect(status(sandbox.view)).toBe('running');
    expect(leftOf(sandbox, 'LIFETIME')).toBe(1_000);
    sandbox.result('vm.snapshot', { type: 'BRANCHED', incarnation: 1, snapshot: snapshotInfo });
    sandbox.fire('LIFETIME');
    expect(status(sandbox.view)).toBe('pausing');
    check(sandbox);
  });

  test('an end that kills also ends a paused one; one that pauses leaves it', () => {
    const killed = paused({ ends_at: clock.now + 60_000 });
    killed.fire('LIFETIME');
    expect(killed.path).toBe('stopping');
    const kept = paused({ ends_at: clock.now + 60_000, on_end: 'pause' });
    expect(kept.timers).toEqual([]);
    kept.send({ type: 'PATCH', on_end: 'kill' });
    expect(kept.timers.map(({ delay }) => delay)).toEqual(['LIFETIME']);
  });

  test('timers of a paused and of a pausing one are those of before after a restart', () => {
    for (const sandbox of [paused({ ends_at: clock.now + 60_000 }), running({ timeout_sec: 10 })]) {
      if (status(sandbox.view) === 'running') sandbox.fire('IDLE');
      const before = sandbox.timers;
      expect(before).toHaveLength(1);
      sandbox.restart();
      expect(sandbox.timers).toEqual(before);
      for (const { delay } of before) expect(sandbox.fire(delay)).toBe('transition');
    }
  });
});

describe('resume', () => {
  test('reserves first, then starts the next incarnation from the paused one; idleness begins anew', () => {
    const sandbox = paused({ timeout_sec: 10 });
    clock.now += 3_600_000;
    sandbox.send({ type: 'RESUME' }, { id: 'resume' });
    expect(holdsVm(sandbox.view)).toBe(false);
    expect(sandbox.effects).toMatchObject([{ name: 'sandbox.reserve', input: { host_id: 'host-1', incarnation: 2 } }]);
    sandbox.result('sandbox.reserve', RESERVED);
    expect(sandbox.effects).toMatchObject([{ name: 'vm.resume', input: { incarnation: 2, from_incarnation: 1 } }]);
    sandbox.result('vm.resume', ready(2));
    expect(answerOf(sandbox, 'resume')).toEqual(done('running'));
    expect(sandbox.context).toMatchObject({ incarnation: 2, paused_incarnation: 1, last_active_at: clock.now });
    expect(sandbox.timers.map(({ delay, dueAt }) => [delay, dueAt - clock.now])).toEqual([['IDLE', 10_000]]);
    check(sandbox);
  });

  test('without room it is paused as before, and the asker hears 503', () => {
    const sandbox = paused();
    sandbox.send({ type: 'RESUME' }, { id: 'resume' });
    sandbox.result('sandbox.reserve', { type: 'PLACE_FAILED', code: 'no_hosts_available', message: 'full' });
    expect(status(sandbox.view)).toBe('paused');
    expect(answerOf(sandbox, 'resume')).toMatchObject([{ ok: false, error: { code: 'no_hosts_available' } }]);
    expect(sandbox.context.paused_incarnation).toBe(1);
    check(sandbox);
  });

  test('that fails leaves the snapshot, and the next one has an incarnation of its own (I1)', () => {
    const sandbox = restoring();
    sandbox.result('vm.resume', { type: 'VM_FAILED', incarnation: 2, code: 'x', message: 'x', retryable: true });
    expect(status(sandbox.view)).toBe('paused');
    expect(sandbox.send({ type: 'VM_FAILED', incarnation: 2, code: 'x', message: 'x', retryable: true })).toBe('late');
    sandbox.send({ type: 'RESUME' }, { id: 'again' });
    sandbox.result('sandbox.reserve', RESERVED);
    expect(sandbox.effects).toMatchObject([{ name: 'vm.resume', input: { incarnation: 3, from_incarnation: 1 } }]);
    sandbox.result('vm.resume', ready(3));
    expect(answerOf(sandbox, 'again')).toEqual(done('running'));
  });

  test('of a damaged snapshot is an error that keeps it until it is destroyed', () => {
    const sandbox = restoring();
    const damaged = { code: 'snapshot_damaged', message: 'a checksum is wrong', retryable: false };
    sandbox.result('vm.resume', { type: 'VM_FAILED', incarnation: 2, ...damaged });
    expect(status(sandbox.view)).toBe('error');
    sandbox.send({ type: 'DESTROY' }, { id: 'destroy' });
    expect(sandbox.effects).toMatchObject([{ name: 'vm.destroy', input: { incarnation: 2 } }]);
  });

  test('is over only when the host has buried or started it: until then it is asked for again', () => {
    const sandbox = restoring();
    for (const _ of [1, 2, 3]) {
      sandbox.fire('RESUME_DEADLINE');
      sandbox.result('vm.inspect_resume', { type: 'INSPECTED', incarnation: 1, status: 'paused' });
      expect(sandbox.path).toBe('resuming.restoring.waiting');
    }
    sandbox.fire('RESUME_DEADLINE');
    sandbox.result('vm.inspect_resume', { type: 'INSPECTED', incarnation: 1, status: 'paused' });
    expect(status(sandbox.view)).toBe('missing');
    sandbox.send(back({}));
    expect(sandbox.path).toBe('resuming.restoring.waiting');
    sandbox.result('vm.resume', { type: 'VM_FAILED', incarnation: 2, code: 'x', message: 'x', retryable: false });
    expect(status(sandbox.view)).toBe('paused');
    check(sandbox);
  });

  test('by traffic: who comes while it is pausing, resuming or running gets the same outcome', () => {
    const sandbox = running();
    expect(sandbox.send({ type: 'RESUME' }, { id: 'plain' })).toBe('refused');
    sandbox.send({ type: 'RESUME', join: true }, { id: 'runs' });
    expect(answerOf(sandbox, 'runs')).toEqual(done('running'));
    sandbox.send({ type: 'PAUSE' }, { id: 'pause' });
    sandbox.send({ type: 'RESUME', join: true }, { id: 'a' });
    const ends_at = clock.now + 90_000;
    sandbox.send({ type: 'RESUME', join: true, ends_at }, { id: 'b' });
    sandbox.result('vm.pause', vmPaused(1));
    expect(answerOf(sandbox, 'pause')).toEqual(done('paused'));
    expect(sandbox.path).toBe('resuming.reserving');
    sandbox.send({ type: 'RESUME', join: true }, { id: 'c' });
    sandbox.result('sandbox.reserve', RESERVED);
    sandbox.result('vm.resume', ready(2));
    for (const id of ['a', 'b', 'c']) expect(answerOf(sandbox, id)).toEqual(done('running'));
    expect(sandbox.context.spec.ends_at).toBe(ends_at);
    check(sandbox);
  });

  test('after a lifetime that was over is not over again at once', () => {
    const sandbox = running({ ends_at: clock.now + 5_000, on_end: 'pause' });
    sandbox.fire('LIFETIME');
    sandbox.result('vm.pause', vmPaused(1));
    sandbox.send({ type: 'RESUME', timeout_sec: 30 });
    expect(sandbox.context.spec).toMatchObject({ ends_at: null, timeout_sec: 30 });
    const later = clock.now + 100_000;
    const other = paused();
    other.send({ type: 'RESUME', ends_at: later });
    expect(other.context.spec.ends_at).toBe(later);
  });
});

describe('a host that gets lost (H4)', () => {
  test('a paused one stays paused, marked unreachable, until it is back', () => {
    const sandbox = paused();
    sandbox.send(LOST);
    expect(sandbox.path).toContain('paused.reach.unreachable');
    expect(sandbox.tables.get('sandboxes')?.get(ID)).toMatchObject({ status: 'paused', unreachable: true });
    sandbox.send({ type: 'DESTROY' }, { id: 'destroy' });
    expect(answerOf(sandbox, 'destroy')).toEqual(done('stopping'));
    const other = paused();
    other.send(LOST);
    other.send(back({}));
    expect(other.tables.get('sandboxes')?.get(ID)).toMatchObject({ status: 'paused', unreachable: false });
    check(other);
  });

  test('a paused one is lost only when the store that knew it says so', () => {
    const sandbox = paused();
    sandbox.send(back({ status: 'gone', incarnation: 0, store_id: 'store-2' }));
    expect(sandbox.path).toContain('paused.reach.unreachable');
    const grave = { code: 'vmm_failed', message: 'of a resume that failed' };
    expect(sandbox.send(back({ status: 'gone', incarnation: 2, ...grave }))).toBe('late');
    sandbox.send(back({ status: 'gone', incarnation: 0 }));
    expect(sandbox.path).toBe('stopping');
    expect(sandbox.context.reason?.code).toBe('lost_on_host');
  });

  test('what was being done decides what its return means', () => {
    const resuming = restoring();
    resuming.send(LOST);
    expect(answerOf(resuming, 'resume')).toMatchObject([{ ok: false, error: { code: 'host_unreachable' } }]);
    resuming.restart();
    resuming.send(back({ status: 'starting', incarnation: 2 }));
    expect(resuming.path).toBe('resuming.restoring.waiting');
    const failed = restoring();
    failed.send(LOST);
    failed.send({ type: 'VM_FAILED', incarnation: 2, code: 'x', message: 'x', retryable: false });
    expect(status(failed.view)).toBe('paused');
    const alive = restoring();
    alive.send(LOST);
    alive.send(back({ status: 'ready', incarnation: 2 }));
    expect(status(alive.view)).toBe('running');
    const lost = restoring();
    lost.result('vm.resume', ready(2));
    lost.send(LOST);
    lost.send(back({}));
    expect(status(lost.view)).toBe('error');
    expect(lost.context.reason?.code).toBe('memory_lost');
  });
});

describe('serialisation (SN13)', () => {
  type Command = { type: string; [field: string]: unknown };
  const snapshot: Command = { type: 'SNAPSHOT', snapshot_id: 'tpl-1', name: 'one', created_by: 'usr-1' };
  const fork: Command = {
    type: 'FORK',
    snapshot_id: 'tpl-2',
    children: [{ sandbox_id: 'sb00000000000000000002', access_token: 'a', traffic_token: 't' }],
    created_by: 'usr-1',
  };
  const commands: Record<string, Command> = {
    PAUSE: { type: 'PAUSE' },
    RESUME: { type: 'RESUME' },
    SNAPSHOT: snapshot,
    FORK: fork,
    DESTROY: { type: 'DESTROY' },
  };
  /** What of the second command is taken while the first is under way; all else is refused. */
  const taken: Record<string, readonly string[]> = {
    PAUSE: ['DESTROY'],
    RESUME: ['DESTROY'],
    SNAPSHOT: ['DESTROY'],
    FORK: ['DESTROY'],
    DESTROY: ['DESTROY'],
  };
  /** Results, whichever of them is awaited: the host does all that it is asked for. */
  const results: [string, { type: string }][] = [
    ['vm.pause', vmPaused(1)],
    ['sandbox.reserve', RESERVED],
    ['vm.resume', ready(2)],
    ['vm.snapshot', { type: 'BRANCHED', incarnation: 1, snapshot: snapshotInfo } as never],
    ['vm.fork', { type: 'BRANCHED', incarnation: 1, snapshot: snapshotInfo } as never],
    ['vm.snapshot_paused', { type: 'BRANCHED', incarnation: 1, snapshot: snapshotInfo } as never],
    ['vm.fork_paused', { type: 'BRANCHED', incarnation: 1, snapshot: snapshotInfo } as never],
  ];
  const finish = (sandbox: Sandbox) => {
    while (sandbox.effects.length > 0) {
      const [effect] = sandbox.effects;
      const { incarnation } = sandbox.context;
      const event =
        effect?.name === 'vm.destroy'
          ? { type: 'RELEASED', incarnation }
          : results.find(([name]) => name === effect?.name)?.[1];
      sandbox.result(effect?.name ?? '', event as never);
      check(sandbox);
    }
  };

  const pairs = ['running', 'paused'].flatMap((from) =>
    Object.keys(commands)
      .filter((first) => first !== (from === 'running' ? 'RESUME' : 'PAUSE'))
      .flatMap((first) => Object.keys(commands).map((second) => [from, first, second] as const)),
  );

  test.each(pairs)('%s: %s, then %s has one legal outcome', (from, first, second) => {
    const sandbox = from === 'running' ? running() : paused();
    expect(sandbox.send(commands[first] as never, { id: 'first' })).toBe('transition');
    const state = sandbox.path;
    const since = sandbox.view.since;
    clock.now += 1_000;
    const outcome = sandbox.send(commands[second] as never, { id: 'second' });
    expect(outcome).toBe(taken[first]?.includes(second) ? 'transition' : 'refused');
    if (outcome === 'refused') {
      expect(sandbox.path).toBe(state);
      const [answer] = answerOf(sandbox, 'second') ?? [];
      expect(answer).toMatchObject({ ok: false, error: { code: 'illegal_command', details: { path: state, since } } });
    }
    finish(sandbox);
    const ends = { PAUSE: 'paused', RESUME: 'running', SNAPSHOT: from, FORK: from, DESTROY: 'stopped' };
    const last = outcome === 'refused' ? first : second;
    expect(status(sandbox.view)).toBe(ends[last as keyof typeof ends]);
    for (const id of ['first', 'second']) expect([id, answerOf(sandbox, id)?.length]).toEqual([id, 1]);
    if (outcome === 'transition' && first !== 'DESTROY') {
      expect(answerOf(sandbox, 'first')).toMatchObject([{ ok: false, error: { code: 'destroyed' } }]);
    }
    // A snapshot that was begun is told of, to be kept or to be deleted.
    const branches = ['SNAPSHOT', 'FORK'].includes(first);
    expect(sandbox.outbox.map(({ to }) => to.kind)).toEqual(branches ? ['snapshot'] : []);
  });
});

describe('snapshots and forks', () => {
  test('of a paused one are made of its paused incarnation; a failure changes nothing and is told of', () => {
    const sandbox = paused();
    sandbox.send({ type: 'SNAPSHOT', snapshot_id: 'tpl-1', name: 'one', created_by: 'usr-1' }, { id: 'snapshot' });
    expect(sandbox.effects).toMatchObject([{ name: 'vm.snapshot_paused', input: { incarnation: 1, children: 0 } }]);
    const failed = { type: 'BRANCH_FAILED', incarnation: 1, code: 'disk_full', message: 'full' };
    sandbox.result('vm.snapshot_paused', failed);
    expect(status(sandbox.view)).toBe('paused');
    expect(answerOf(sandbox, 'snapshot')).toMatchObject([{ ok: false, error: { code: 'disk_full' } }]);
    expect(sandbox.outbox).toMatchObject([{ to: { kind: 'snapshot', id: 'tpl-1' }, event: { info: null } }]);
    check(sandbox);
  });

  test('children inherit what their parent was told, with tokens and an origin of their own', () => {
    const sandbox = running({ labels: { a: 'b' }, envs: { E: '1' }, timeout_sec: 60 });
    const children = [{ sandbox_id: 'sb00000000000000000002', access_token: 'own', traffic_token: 'own too' }];
    sandbox.send({ type: 'FORK', snapshot_id: 'tpl-2', children, created_by: 'key-1' }, { id: 'fork' });
    expect(JSON.stringify(sandboxDefinition.publicContext?.(sandbox.context))).not.toContain('own too');
    sandbox.result('vm.fork', { type: 'BRANCHED', incarnation: 1, snapshot: snapshotInfo });
    expect(answerOf(sandbox, 'fork')).toEqual([{ ok: true, value: { snapshot_id: 'tpl-2' } }]);
    const [letter] = sandbox.outbox;
    expect(letter?.event).toMatchObject({
      type: 'CREATE',
      purpose: 'fork',
      children: [
        {
          sandbox_id: 'sb00000000000000000002',
          spec: {
            labels: { a: 'b' },
            envs: { E: '1' },
            timeout_sec: 60,
            access_token: 'own',
            created_by: 'key-1',
            snapshot: { id: 'tpl-2', host_id: 'host-1', ephemeral: true },
          },
        },
      ],
    });
  });

  test('a deadline ends the work without asking: what comes too late is deleted', () => {
    const sandbox = running();
    sandbox.send({ type: 'SNAPSHOT', snapshot_id: 'tpl-1', name: 'one', created_by: 'usr-1' }, { id: 'snapshot' });
    const late = sandbox.key('vm.snapshot');
    sandbox.fire('BRANCH_DEADLINE');
    expect(sandbox.context.operation).toBeNull();
    expect(answerOf(sandbox, 'snapshot')).toMatchObject([{ ok: false, error: { code: 'timeout' } }]);
    const branched = { type: 'BRANCHED', incarnation: 1, snapshot: snapshotInfo };
    expect(sandbox.send(branched as never, { effectKey: late })).toBe('late');
  });

  test('a child tells its fork once how its start came out', () => {
    const snapshot = { id: 'tpl-2', host_id: 'host-1', ephemeral: true };
    const sandbox = running({ snapshot });
    expect(sandbox.outbox).toMatchObject([{ to: { id: 'tpl-2' }, event: { type: 'CHILD_SETTLED', error: null } }]);
    sandbox.send(LOST);
    sandbox.send(back({ status: 'ready' }));
    expect(sandbox.outbox).toHaveLength(1);
    const other = new ActorInMemory(sandboxDefinition, ID, clock);
    other.send(createSandbox({ snapshot }, false));
    expect(other.effects).toMatchObject([{ name: 'sandbox.place', input: { host_id: 'host-1' } }]);
    other.fire('PLACE_DEADLINE');
    expect(other.outbox).toMatchObject([{ event: { error: { code: 'no_hosts_available' } } }]);
  });
});

import { describe, expect, test } from 'vitest';
import { checkAllAnswered } from '../testing/invariants.ts';
import {
  actions,
  answerOf,
  back,
  check,
  done,
  ID,
  PAUSE_FAILED,
  paused,
  RESERVED,
  ready,
  restoring,
  running,
  type Sandbox,
  vmPaused,
} from '../testing/sandbox-steps.ts';
import { snapshotInfo } from '../testing/snapshot-sample.ts';
import { testClock } from '../testing/test-clock.ts';
import type { VmFacts } from './events.ts';
import { holdsVm, status } from './project.ts';

const clock = testClock();

describe('pause', () => {
  test('is answered when only files are left; nothing is held then (I6)', () => {
    const sandbox = running(clock);
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
    const sandbox = running(clock);
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
      const sandbox = running(clock);
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
    const silent = running(clock);
    silent.send({ type: 'PAUSE' }, { id: 'pause' });
    silent.fire('PAUSE_DEADLINE');
    silent.fire('INSPECT_DEADLINE');
    expect(status(silent.view)).toBe('missing');
    silent.send(back({}));
    expect(status(silent.view)).toBe('paused');
    expect(answerOf(silent, 'pause')).toMatchObject([{ ok: false, error: { code: 'host_unreachable' } }]);
  });

  test('that comes to be after all is heard, whatever was thought of it', () => {
    const sandbox = running(clock);
    sandbox.send({ type: 'PAUSE' }, { id: 'pause' });
    sandbox.result('vm.pause', PAUSE_FAILED);
    sandbox.send(vmPaused(1));
    expect(status(sandbox.view)).toBe('paused');
  });

  test('a VM that dies meanwhile is an error, and who asked hears of it', () => {
    const sandbox = running(clock);
    sandbox.send({ type: 'PAUSE' }, { id: 'pause' });
    sandbox.send({ type: 'VM_DIED', incarnation: 1, code: 'vmm_exited', message: 'killed' });
    expect(status(sandbox.view)).toBe('error');
    expect(answerOf(sandbox, 'pause')).toMatchObject([{ ok: false, error: { code: 'vmm_exited' } }]);
  });
});

describe('resume', () => {
  test('reserves first, then starts the next incarnation from the paused one; idleness begins anew', () => {
    const sandbox = paused(clock, { timeout_sec: 10 });
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
    const sandbox = paused(clock);
    sandbox.send({ type: 'RESUME' }, { id: 'resume' });
    sandbox.result('sandbox.reserve', { type: 'PLACE_FAILED', code: 'no_hosts_available', message: 'full' });
    expect(status(sandbox.view)).toBe('paused');
    expect(answerOf(sandbox, 'resume')).toMatchObject([{ ok: false, error: { code: 'no_hosts_available' } }]);
    expect(sandbox.context.paused_incarnation).toBe(1);
    check(sandbox);
  });

  test('that fails leaves the snapshot, and the next one has an incarnation of its own (I1)', () => {
    const sandbox = restoring(clock);
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
    const sandbox = restoring(clock);
    const damaged = { code: 'snapshot_damaged', message: 'a checksum is wrong', retryable: false };
    sandbox.result('vm.resume', { type: 'VM_FAILED', incarnation: 2, ...damaged });
    expect(status(sandbox.view)).toBe('error');
    sandbox.send({ type: 'DESTROY' }, { id: 'destroy' });
    expect(sandbox.effects).toMatchObject([{ name: 'vm.destroy', input: { incarnation: 2 } }]);
  });

  test('is over only when the host has buried or started it: until then it is asked for again', () => {
    const sandbox = restoring(clock);
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
    const sandbox = running(clock);
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
    const sandbox = running(clock, { ends_at: clock.now + 5_000, on_end: 'pause' });
    sandbox.fire('LIFETIME');
    sandbox.result('vm.pause', vmPaused(1));
    sandbox.send({ type: 'RESUME', timeout_sec: 30 });
    expect(sandbox.context.spec).toMatchObject({ ends_at: null, timeout_sec: 30 });
    const later = clock.now + 100_000;
    const other = paused(clock);
    other.send({ type: 'RESUME', ends_at: later });
    expect(other.context.spec.ends_at).toBe(later);
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
    const sandbox = from === 'running' ? running(clock) : paused(clock);
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

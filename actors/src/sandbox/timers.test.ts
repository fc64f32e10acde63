import { describe, expect, test } from 'vitest';
import {
  actions,
  answerOf,
  check,
  done,
  PAUSE_FAILED,
  paused,
  running,
  type Sandbox,
  vmPaused,
} from '../testing/sandbox-steps.ts';
import { snapshotInfo } from '../testing/snapshot-sample.ts';
import { testClock } from '../testing/test-clock.ts';
import { status } from './project.ts';

const clock = testClock();

describe('idleness (SN7) and lifetime (SN15)', () => {
  const leftOf = (sandbox: Sandbox, delay: string) =>
    (sandbox.timers.find((timer) => timer.delay === delay)?.dueAt ?? Number.NaN) - clock.now;

  test('timeout_sec: 10 asks after 10 s; activity sets it anew from when it was', () => {
    const sandbox = running(clock, { timeout_sec: 10 });
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
    const sandbox = running(clock, { timeout_sec: 10 });
    sandbox.fire('IDLE');
    sandbox.result('vm.pause', { type: 'ACTIVE', incarnation: 1, idle_ms: 9_990 });
    expect(leftOf(sandbox, 'IDLE')).toBe(2_000);
    expect(clock.now + 2_000 - (sandbox.context.last_active_at ?? 0)).toBeLessThan(13_000);
  });

  test('three pauses that fail end it; activity between counts them anew', () => {
    const sandbox = running(clock, { timeout_sec: 10 });
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
    const sandbox = running(clock, { timeout_sec: 10 });
    sandbox.fire('IDLE');
    const asked = sandbox.key('vm.pause');
    expect(sandbox.send({ type: 'PAUSE' }, { id: 'pause' })).toBe('transition');
    expect(sandbox.effects).toMatchObject([{ name: 'vm.pause', input: { if_idle_ms: null } }]);
    expect(sandbox.send({ type: 'ACTIVE', incarnation: 1, idle_ms: 0 }, { effectKey: asked })).toBe('late');
    sandbox.result('vm.pause', vmPaused(1));
    expect(answerOf(sandbox, 'pause')).toEqual(done('paused'));
  });

  test('a snapshot under way puts a timer off', () => {
    const sandbox = running(clock, { timeout_sec: 10, ends_at: clock.now + 20_000, on_end: 'pause' });
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
    const killed = paused(clock, { ends_at: clock.now + 60_000 });
    killed.fire('LIFETIME');
    expect(killed.path).toBe('stopping');
    const kept = paused(clock, { ends_at: clock.now + 60_000, on_end: 'pause' });
    expect(kept.timers).toEqual([]);
    kept.send({ type: 'PATCH', on_end: 'kill' });
    expect(kept.timers.map(({ delay }) => delay)).toEqual(['LIFETIME']);
  });

  test('timers of a paused and of a pausing one are those of before after a restart', () => {
    for (const sandbox of [paused(clock, { ends_at: clock.now + 60_000 }), running(clock, { timeout_sec: 10 })]) {
      if (status(sandbox.view) === 'running') sandbox.fire('IDLE');
      const before = sandbox.timers;
      expect(before).toHaveLength(1);
      sandbox.restart();
      expect(sandbox.timers).toEqual(before);
      for (const { delay } of before) expect(sandbox.fire(delay)).toBe('transition');
    }
  });
});

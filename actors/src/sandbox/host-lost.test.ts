import { describe, expect, test } from 'vitest';
import { answerOf, back, check, done, ID, LOST, paused, ready, restoring } from '../testing/sandbox-steps.ts';
import { testClock } from '../testing/test-clock.ts';
import { status } from './project.ts';

const clock = testClock();

describe('a host that gets lost (H4)', () => {
  test('a paused one stays paused, marked unreachable, until it is back', () => {
    const sandbox = paused(clock);
    sandbox.send(LOST);
    expect(sandbox.path).toContain('paused.reach.unreachable');
    expect(sandbox.tables.get('sandboxes')?.get(ID)).toMatchObject({ status: 'paused', unreachable: true });
    sandbox.send({ type: 'DESTROY' }, { id: 'destroy' });
    expect(answerOf(sandbox, 'destroy')).toEqual(done('stopping'));
    const other = paused(clock);
    other.send(LOST);
    other.send(back({}));
    expect(other.tables.get('sandboxes')?.get(ID)).toMatchObject({ status: 'paused', unreachable: false });
    check(other);
  });

  test('a paused one is lost only when the store that knew it says so', () => {
    const sandbox = paused(clock);
    sandbox.send(back({ status: 'gone', incarnation: 0, store_id: 'store-2' }));
    expect(sandbox.path).toContain('paused.reach.unreachable');
    const grave = { code: 'vmm_failed', message: 'of a resume that failed' };
    expect(sandbox.send(back({ status: 'gone', incarnation: 2, ...grave }))).toBe('late');
    sandbox.send(back({ status: 'gone', incarnation: 0 }));
    expect(sandbox.path).toBe('stopping');
    expect(sandbox.context.reason?.code).toBe('lost_on_host');
  });

  test('what was being done decides what its return means', () => {
    const resuming = restoring(clock);
    resuming.send(LOST);
    expect(answerOf(resuming, 'resume')).toMatchObject([{ ok: false, error: { code: 'host_unreachable' } }]);
    resuming.restart();
    resuming.send(back({ status: 'starting', incarnation: 2 }));
    expect(resuming.path).toBe('resuming.restoring.waiting');
    const failed = restoring(clock);
    failed.send(LOST);
    failed.send({ type: 'VM_FAILED', incarnation: 2, code: 'x', message: 'x', retryable: false });
    expect(status(failed.view)).toBe('paused');
    const alive = restoring(clock);
    alive.send(LOST);
    alive.send(back({ status: 'ready', incarnation: 2 }));
    expect(status(alive.view)).toBe('running');
    const lost = restoring(clock);
    lost.result('vm.resume', ready(2));
    lost.send(LOST);
    lost.send(back({}));
    expect(status(lost.view)).toBe('error');
    expect(lost.context.reason?.code).toBe('memory_lost');
  });
});

import { describe, expect, test } from 'vitest';
import { ActorInMemory } from '../testing/actor-in-memory.ts';
import { createSandbox } from '../testing/samples.ts';
import { answerOf, back, check, ID, LOST, paused, running } from '../testing/sandbox-steps.ts';
import { snapshotInfo } from '../testing/snapshot-sample.ts';
import { testClock } from '../testing/test-clock.ts';
import { sandboxDefinition } from './definition.ts';
import { status } from './project.ts';

const clock = testClock();

describe('snapshots and forks', () => {
  test('of a paused one are made of its paused incarnation; a failure changes nothing and is told of', () => {
    const sandbox = paused(clock);
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
    const sandbox = running(clock, { labels: { a: 'b' }, envs: { E: '1' }, timeout_sec: 60 });
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
    const sandbox = running(clock);
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
    const sandbox = running(clock, { snapshot });
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

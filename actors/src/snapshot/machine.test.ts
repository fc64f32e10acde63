import { describe, expect, test } from 'vitest';
import { ActorInMemory } from '../testing/actor-in-memory.ts';
import { deadlinesOf, explore, statesOf } from '../testing/explore.ts';
import { checkActor, checkAllAnswered, checkReplay } from '../testing/invariants.ts';
import { sandboxSpec } from '../testing/samples.ts';
import { snapshotInfo } from '../testing/snapshot-sample.ts';
import { testClock } from '../testing/test-clock.ts';
import { snapshotDefinition } from './definition.ts';
import type { SnapshotCreate, SnapshotEvent } from './events.ts';
import { snapshotMachine } from './machine.ts';

const CHILDREN = ['sb00000000000000000001', 'sb00000000000000000002'];
const create = (changes: Partial<SnapshotCreate> = {}): SnapshotCreate => ({
  type: 'CREATE',
  team_id: 'team-1',
  purpose: 'template',
  name: 'one',
  sandbox_id: 'sb00000000000000000009',
  host_id: 'host-1',
  created_by: 'usr-1',
  vcpus: 1,
  memory_mb: 512,
  disk_size_mb: 20_480,
  info: snapshotInfo,
  children: [],
  ...changes,
});
const fork = () =>
  create({
    purpose: 'fork',
    name: '',
    children: CHILDREN.map((sandbox_id) => ({ sandbox_id, spec: sandboxSpec() })),
  });
const settled = (sandbox_id: string | undefined, code?: string): SnapshotEvent => ({
  type: 'CHILD_SETTLED',
  sandbox_id: sandbox_id ?? '',
  error: code === undefined ? null : { code, message: code },
});
const AWAIT: SnapshotEvent = { type: 'AWAIT', team_id: 'team-1' };
const GONE: SnapshotEvent = { type: 'SNAPSHOT_GONE' };

const clock = testClock();
const begun = (event: SnapshotEvent, id = 'first') => {
  const snapshot = new ActorInMemory(snapshotDefinition, 'tpl-1', clock);
  snapshot.send(event, { id });
  return snapshot;
};
const rowOf = (snapshot: ReturnType<typeof begun>) => snapshot.tables.get('templates')?.get('tpl-1');

describe('a template', () => {
  test('has a row from the commit that makes it to the one that deletes it; its files go when the host says so', () => {
    const snapshot = begun(create());
    expect(rowOf(snapshot)).toMatchObject({ name: 'one', state: 'ready', host_id: 'host-1', size_bytes: 16_000_000 });
    expect(snapshot.send({ type: 'DELETE' })).toBe('transition');
    expect(rowOf(snapshot)).toBeUndefined();
    expect(snapshot.effects).toMatchObject([{ name: 'snapshot.delete', input: { host_id: 'host-1' } }]);
    snapshot.fire('DELETE_REVIEW');
    snapshot.result('snapshot.delete', GONE);
    expect(snapshot.path).toBe('deleted');
    expect(snapshot.audits.map(({ action }) => action)).toEqual(['snapshot.delete']);
    checkReplay(snapshot as never);
  });

  test('that was not made is deleted on the host all the same', () => {
    const snapshot = begun(create({ info: null }));
    expect(snapshot.path).toBe('deleting');
    expect(rowOf(snapshot)).toBeUndefined();
    snapshot.result('snapshot.delete', GONE);
    // The host may have been at it: what it has made after all is deleted as well.
    expect(snapshot.path).toBe('lingering');
    snapshot.fire('LINGER');
    snapshot.result('snapshot.delete', GONE);
    expect(snapshot.path).toBe('deleted');
  });

  test('of a host that is removed is gone with it', () => {
    const snapshot = begun(create());
    expect(snapshot.send({ type: 'HOST_DELETED', host_id: 'host-2' })).toBe('late');
    snapshot.send({ type: 'HOST_DELETED', host_id: 'host-1' });
    expect(snapshot.path).toBe('deleted');
    expect(rowOf(snapshot)).toBeUndefined();
  });

  test('may be awaited before its sandbox has told of it', () => {
    const snapshot = begun(AWAIT);
    expect(snapshot.path).toBe('expected');
    expect(snapshot.tables.get('templates')?.size ?? 0).toBe(0);
    snapshot.send(create());
    expect(snapshot.path).toBe('ready');
    expect(snapshot.answers.get('first')).toEqual([{ ok: true, value: { children: [] } }]);
    expect(rowOf(snapshot)).toMatchObject({ name: 'one' });
    const never = begun(AWAIT);
    never.fire('EXPECTED_DEADLINE');
    expect(never.answers.get('first')).toMatchObject([{ ok: false, error: { code: 'timeout' } }]);
    never.send(create({ info: null }));
    expect(never.path).toBe('deleting');
  });
});

describe('a fork', () => {
  test('creates its children, tells of all at once, and is deleted', () => {
    const snapshot = begun(fork());
    expect(snapshot.outbox.map(({ to, event }) => [to.id, event.type, event.wait])).toEqual(
      CHILDREN.map((id) => [id, 'CREATE', false]),
    );
    expect(snapshot.tables.get('templates')?.size ?? 0).toBe(0);
    snapshot.send(AWAIT, { id: 'early' });
    snapshot.send(settled(CHILDREN[1], 'vmm_failed'));
    expect(snapshot.answers.has('early')).toBe(false);
    snapshot.restart();
    snapshot.send(settled(CHILDREN[0]));
    const children = [
      { sandbox_id: CHILDREN[0], settled: true, error: null },
      { sandbox_id: CHILDREN[1], settled: true, error: { code: 'vmm_failed', message: 'vmm_failed' } },
    ];
    expect(snapshot.path).toBe('deleting');
    snapshot.send(AWAIT, { id: 'late' });
    for (const id of ['early', 'late']) expect(snapshot.answers.get(id)).toEqual([{ ok: true, value: { children } }]);
    snapshot.result('snapshot.delete', GONE);
    checkAllAnswered(snapshot as never);
    checkActor(snapshot as never);
  });

  test('awaited before it is told of, it creates them all the same', () => {
    const snapshot = begun(AWAIT);
    snapshot.send(fork());
    expect(snapshot.outbox).toHaveLength(2);
    for (const id of CHILDREN) snapshot.send(settled(id));
    expect(snapshot.answers.get('first')).toMatchObject([{ ok: true }]);
  });

  test('a child that never tells is given up', () => {
    const snapshot = begun(fork());
    snapshot.send(settled(CHILDREN[0]));
    snapshot.send(AWAIT, { id: 'await' });
    snapshot.fire('CHILDREN_DEADLINE');
    expect(snapshot.path).toBe('deleting');
    const [answer] = snapshot.answers.get('await') ?? [];
    expect(answer).toMatchObject({ value: { children: [{ error: null }, { error: { code: 'timeout' } }] } });
  });

  test('keeps no secrets of its children', () => {
    expect(JSON.stringify(snapshotDefinition.publicContext?.(begun(fork()).context))).not.toContain('secret');
  });
});

describe('the graph', () => {
  const walk = (first: SnapshotEvent) =>
    explore({
      definition: snapshotDefinition,
      id: 'tpl-1',
      create: first as never,
      events: [
        create(),
        fork(),
        settled(CHILDREN[0]),
        settled(CHILDREN[1], 'vmm_failed'),
        AWAIT,
        { type: 'DELETE' },
        GONE,
        { type: 'HOST_DELETED', host_id: 'host-1' },
      ],
      distinguish: ({ children, waiters, lingered }) => [children, waiters.length > 0, lingered],
    });
  const explored = [walk(AWAIT), walk(create({ info: null }))];

  test('every state is reached, and every transition is taken', () => {
    expect(statesOf(snapshotMachine).filter((state) => !explored.some(({ states }) => states.has(state)))).toEqual([]);
    const [first, second] = explored.map(({ untaken }) => new Set(untaken));
    expect([...(first ?? [])].filter((name) => second?.has(name))).toEqual([]);
  });

  test('every work state has a deadline (I3)', () => {
    expect(deadlinesOf(snapshotMachine).filter(({ delays }) => delays.length === 0)).toEqual([]);
  });
});

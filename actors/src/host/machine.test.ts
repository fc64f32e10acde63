import { describe, expect, test } from 'vitest';
import { ActorInMemory, Clock } from '../testing/actor-in-memory.ts';
import { deadlinesOf, explore, statesOf } from '../testing/explore.ts';
import { checkActor, checkAllAnswered } from '../testing/invariants.ts';
import { hostSpecs } from '../testing/samples.ts';
import { testClock } from '../testing/test-clock.ts';
import { hostDefinition } from './definition.ts';
import type { HostContext, HostCreate, HostEvent, HostHeartbeat, HostRegistered } from './events.ts';
import { hostMachine } from './machine.ts';
import { HOST_COLUMNS, status } from './project.ts';

const ID = 'host-1';
const DAY_MS = 86_400_000;
const CREATE: HostCreate = { type: 'CREATE', team_id: null, name: 'alpha', tags: ['ssd'], created_by: 'usr-1' };
const HEARTBEAT: HostHeartbeat = { type: 'HEARTBEAT', store_id: 'store-1', cursor: 5, vms: 2, load: { cpu: 0.5 } };

const clock = testClock();

const credentials = (now: number) => ({
  renew_at: now + 5 * DAY_MS,
  expires_at: now + 60 * DAY_MS,
  cert_fingerprint: null,
  cert_expires_at: null,
});
const registered = (now: number): HostRegistered => ({
  type: 'REGISTERED',
  address: '127.0.0.1:50051',
  specs: hostSpecs,
  credentials: credentials(now),
});

function pending(): ActorInMemory<HostContext> {
  const host = new ActorInMemory(hostDefinition, ID, clock);
  host.send(CREATE, { id: 'create' });
  return host;
}

function online(): ActorInMemory<HostContext> {
  const host = pending();
  host.send(registered(clock.now));
  host.result('host.inventory', { type: 'INVENTORIED', orphans: [], ended: [] });
  return host;
}

const effectsOf = (host: ActorInMemory<HostContext>) => host.effects.map(({ name }) => name);

const ORPHAN = { sandbox_id: 'sb9', incarnation: 1 };

describe('the graph', () => {
  const now = new Clock().now;
  const events: HostEvent[] = [
    registered(now),
    HEARTBEAT,
    { type: 'CREDENTIALS_RENEWED', credentials: credentials(now) },
    { type: 'CREDENTIALS_REVOKED' },
    { type: 'LOST_TOLD' },
    { type: 'INVENTORIED', orphans: [ORPHAN], ended: [] },
    { type: 'INVENTORIED', orphans: [], ended: [ORPHAN] },
    { type: 'INVENTORY_FAILED', code: 'unavailable', message: 'no answer' },
    { type: 'EVICTED' },
    { type: 'EVICT_REFUSED', sandbox_ids: ['sb1'] },
    { type: 'NEW_TOKEN' },
    { type: 'DRAIN' },
    { type: 'UNDRAIN' },
    { type: 'SET_TAGS', tags: ['gpu'] },
    { type: 'DELETE', force: false },
    { type: 'DELETE', force: true },
  ];
  const distinguish = ({ draining, delete_force }: HostContext) => [draining, delete_force];
  const explored = explore({ definition: hostDefinition, id: ID, create: CREATE, events, distinguish });

  test('every state is reached, and every transition is taken', () => {
    expect(statesOf(hostMachine).filter((state) => !explored.states.has(state))).toEqual([]);
    expect(explored.untaken).toEqual([]);
  });

  test('every work state has a deadline (I3)', () => {
    const work = deadlinesOf(hostMachine);
    expect(work.map(({ state }) => state)).toEqual([
      'active.presence.unreachable.telling',
      'active.inventory.listing',
      'active.duty.evicting',
    ]);
    for (const { state, delays } of work) expect(delays, state).not.toEqual([]);
  });
});

describe('registration (H1)', () => {
  test('a token lapses after an hour, a new one starts the time anew', () => {
    const host = pending();
    expect(host.answers.get('create')).toMatchObject([{ ok: true }]);
    expect(host.timers).toMatchObject([{ delay: 'TOKEN_TTL', dueAt: clock.now + 3_600_000 }]);
    host.fire('TOKEN_TTL');
    expect(host.path).toBe('pending.lapsed');
    host.send({ type: 'NEW_TOKEN' });
    expect(host.path).toBe('pending.waiting');
    expect(host.timers).toMatchObject([{ dueAt: clock.now + 3_600_000 }]);
  });

  test('registered it is online, with its capacity in the row', () => {
    const host = online();
    expect(status(host.view)).toBe('online');
    const row = host.tables.get('hosts')?.get(ID) ?? {};
    expect(Object.keys(row)).toEqual([...HOST_COLUMNS]);
    expect(row).toMatchObject({
      status: 'online',
      vcpus: 16,
      memory_mb: 16_384,
      address: '127.0.0.1:50051',
      vmm: 'qemu',
    });
  });

  test('credentials are due for renewal before they expire (H2)', () => {
    const host = online();
    const due = host.timers.find(({ delay }) => delay === 'RENEWAL_DUE');
    expect(due?.dueAt).toBe(clock.now + 5 * DAY_MS);
    host.fire('RENEWAL_DUE');
    expect(host.path).toContain('active.credentials.renewing');
    host.send({ type: 'CREDENTIALS_RENEWED', credentials: credentials(clock.now) });
    expect(host.path).toContain('active.credentials.valid');
    host.send({ type: 'CREDENTIALS_REVOKED' });
    expect(host.path).toContain('active.credentials.revoked');
  });
});

describe('presence (H4)', () => {
  test('each heartbeat sets the timer anew', () => {
    const host = online();
    clock.now += 60_000;
    host.send(HEARTBEAT);
    const silence = host.timers.find(({ delay }) => delay === 'HEARTBEAT_SILENCE');
    expect(silence?.dueAt).toBe(clock.now + 90_000);
    expect(host.context).toMatchObject({ store_id: 'store-1', cursor: 5, vms: 2, last_heartbeat_at: clock.now });
  });

  test('silent: its sandboxes are told, again while it lasts; back: one inventory', () => {
    const host = online();
    host.fire('HEARTBEAT_SILENCE');
    expect(status(host.view)).toBe('unreachable');
    expect(effectsOf(host)).toEqual(['host.lost']);
    host.result('host.lost', { type: 'LOST_TOLD' });
    expect(effectsOf(host)).toEqual([]);
    host.fire('TELL_AGAIN');
    expect(effectsOf(host)).toEqual(['host.lost']);
    host.send(HEARTBEAT);
    expect(status(host.view)).toBe('online');
    expect(effectsOf(host)).toEqual(['host.inventory']);
    host.result('host.inventory', { type: 'INVENTORIED', orphans: [ORPHAN], ended: [] });
    expect(host.context.orphans).toEqual([{ ...ORPHAN, since: clock.now }]);
    const actions = host.audits.map(({ action }) => action);
    expect(actions).toEqual(['host.add', 'host.registered', 'host.marked_down', 'host.marked_up']);
  });

  test('orphans are known by since when they were first seen; that some were ended is audited (H4)', () => {
    const host = online();
    host.fire('SWEEP_EVERY');
    host.result('host.inventory', { type: 'INVENTORIED', orphans: [ORPHAN], ended: [] });
    const since = clock.now;
    host.fire('SWEEP_EVERY');
    expect(clock.now).toBeGreaterThan(since);
    expect(host.effects[0]?.input).toMatchObject({ orphans: [{ ...ORPHAN, since }] });
    const other = { ...ORPHAN, incarnation: 2 };
    host.result('host.inventory', { type: 'INVENTORIED', orphans: [ORPHAN, other], ended: [] });
    expect(host.context.orphans).toEqual([
      { ...ORPHAN, since },
      { ...other, since: clock.now },
    ]);
    host.fire('SWEEP_EVERY');
    host.result('host.inventory', { type: 'INVENTORIED', orphans: [other], ended: [ORPHAN] });
    expect(host.context.orphans.map(({ incarnation }) => incarnation)).toEqual([2]);
    expect(host.audits.map(({ action }) => action)).toEqual(['host.add', 'host.registered', 'host.orphans_ended']);
  });

  test('an actor of version 1, which kept ids only, notes its orphans anew', () => {
    const earlier = { value: 'pending', context: { host_id: ID, orphans: ['sb9'] } };
    expect(hostDefinition.upcasters?.[1]?.(earlier)).toEqual({ ...earlier, context: { host_id: ID, orphans: [] } });
  });

  test('a heartbeat of a host that was there asks for no inventory; the sweep does', () => {
    const host = online();
    host.send(HEARTBEAT);
    expect(effectsOf(host)).toEqual([]);
    host.fire('SWEEP_EVERY');
    expect(effectsOf(host)).toEqual(['host.inventory']);
  });

  test('a lost host is not swept', () => {
    const host = online();
    host.fire('HEARTBEAT_SILENCE');
    host.fire('SWEEP_EVERY');
    expect(effectsOf(host)).toEqual(['host.lost']);
  });
});

describe('drain and delete (H6)', () => {
  test('a draining host that gets lost is unreachable, and draining again when it is back', () => {
    const host = online();
    host.send({ type: 'DRAIN' });
    expect(status(host.view)).toBe('draining');
    host.fire('HEARTBEAT_SILENCE');
    expect(status(host.view)).toBe('unreachable');
    host.send(HEARTBEAT);
    expect(status(host.view)).toBe('draining');
    host.send({ type: 'UNDRAIN' });
    expect(status(host.view)).toBe('online');
  });

  test('not forced it is refused while sandboxes are there, and the host stays as it was', () => {
    const host = online();
    host.send({ type: 'DELETE', force: false }, { id: 'delete' });
    expect(status(host.view)).toBe('draining');
    expect(host.answers.has('delete')).toBe(false);
    host.result('host.evict', { type: 'EVICT_REFUSED', sandbox_ids: ['sb1'] });
    expect(host.answers.get('delete')).toMatchObject([
      { ok: false, error: { code: 'host_not_empty', details: { sandbox_ids: ['sb1'] } } },
    ]);
    expect(status(host.view)).toBe('online');
    expect(host.path).toContain('active.duty.open');
  });

  test('a forced one overtakes one that is not, and both are answered', () => {
    const host = online();
    host.send({ type: 'DELETE', force: false }, { id: 'first' });
    expect(host.effects).toMatchObject([{ name: 'host.evict', input: { force: false } }]);
    host.send({ type: 'DELETE', force: true }, { id: 'second' });
    expect(host.effects).toMatchObject([{ name: 'host.evict', input: { force: true } }]);
    host.result('host.evict', { type: 'EVICTED' });
    expect(status(host.view)).toBe('deleted');
    for (const id of ['first', 'second']) expect(host.answers.get(id)).toMatchObject([{ ok: true }]);
    expect(host.timers).toEqual([]);
    checkActor(host as never);
    checkAllAnswered(host as never);
  });

  test('one that never registered is deleted at once', () => {
    const host = pending();
    host.send({ type: 'DELETE', force: false }, { id: 'delete' });
    expect(host.answers.get('delete')).toEqual([{ ok: true, value: { host_id: ID } }]);
    expect(host.tables.get('hosts')?.get(ID)).toMatchObject({ status: 'deleted' });
  });
});

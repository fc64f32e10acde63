import { afterAll, beforeAll, describe, expect, test, vi } from 'vitest';
import { WebSocket } from 'ws';
import { call, signUp } from './gateway.ts';
import type { BareAgent } from './testing/bare-agent.ts';
import { type Fleet, startFleet } from './testing/fleet.ts';

let fleet: Fleet;
let agent: BareAgent;
let hostId: string;
/** The first user is platform admin. */
let admin: string;
let key: string;
let other: string;
let id: string;

const get = (path: string, by = key) => call(fleet, 'GET', `/v1${path}`, { key: by });
const asAdmin = (method: string, path: string, body?: unknown) =>
  call(fleet, method, `/v1${path}`, { token: admin, body });

beforeAll(async () => {
  fleet = await startFleet();
  const { token, isAdmin } = await signUp(fleet);
  expect(isAdmin).toBe(true);
  admin = token;
  ({ agent, id: hostId } = await fleet.addHost());
  key = await fleet.newKey();
  other = await fleet.newKey();
  const body = { labels: { app: 'wren' }, envs: { PASSWORD: 'hush' }, timeout_sec: 900 };
  id = (await call(fleet, 'POST', '/v1/sandboxes', { key, body })).body.id;
  await vi.waitFor(async () => expect((await get(`/actors/vm/${id}.1`)).status).toBe(200));
});
afterAll(() => fleet?.close());

describe('inspector (API11)', () => {
  test('an actor: state, context without secrets, timers, commands and why others are not, its VMs', async () => {
    const { status, body } = await get(`/actors/sandbox/${id}`);
    expect(status).toBe(200);
    expect(body).toMatchObject({ kind: 'sandbox', id, done: false, host_id: null, effects: [], machine_version: 1 });
    expect(body.path).toContain('running.idle.armed');
    expect(body.context).toMatchObject({ status: 'running', spec: { labels: { app: 'wren' } } });
    expect(body.timers.map((timer: { event: string }) => timer.event).length).toBeGreaterThan(0);
    expect(Date.parse(body.timers[0].due_at)).toBeGreaterThan(Date.now() + 800_000);
    expect(body.commands).toContainEqual({ type: 'DESTROY', title: 'Destroy', destructive: true, legal: true });
    expect(body.vms).toMatchObject([{ kind: 'vm', id: `${id}.1`, path: 'ready' }]);
    expect(JSON.stringify(body)).not.toMatch(/hush|_token/);
  });

  test('a vm is a mirror of what its host says', async () => {
    const { body } = await get(`/actors/vm/${id}.1`);
    expect(body).toMatchObject({
      host_id: hostId,
      path: 'ready',
      commands: [],
      context: { status: 'ready', incarnation: 1 },
    });
    const journal = await get(`/actors/vm/${id}.1/journal`);
    expect(journal.body.items).toMatchObject([{ seq: 1, event: { type: 'CREATE' }, to: 'ready' }]);
    expect(JSON.stringify(journal.body)).not.toContain('secret');
  });

  test('the journal pages, says who caused what, and has no secrets', async () => {
    const { body } = await get(`/actors/sandbox/${id}/journal?limit=2`);
    expect(body.items.map((entry: { event: { type: string } }) => entry.event.type)).toEqual(['CREATE', 'RESERVED']);
    expect(body.items[0]).toMatchObject({
      seq: 1,
      from: null,
      to: 'placing',
      cause: { type: 'api_key', name: 'test' },
    });
    const rest = await get(`/actors/sandbox/${id}/journal?after_seq=${body.next_after_seq}`);
    expect(rest.body.items[0]).toMatchObject({ seq: 3, event: { type: 'VM_READY' } });
    expect(rest.body.next_after_seq).toBeNull();
    expect(JSON.stringify([body, rest.body])).not.toMatch(/hush|access_token|traffic_token/);
  });

  test('the export holds machine, actor and journal', async () => {
    const { status, body } = await get(`/actors/sandbox/${id}/export`);
    expect(status).toBe(200);
    expect(body.machine).toMatchObject({ kind: 'sandbox', version: 1 });
    expect(body.actor.id).toBe(id);
    expect(body.journal.length).toBeGreaterThanOrEqual(3);
    expect(JSON.stringify(body)).not.toMatch(/hush/);
  });

  test('lists by kind, state and label; own team only', async () => {
    const ids = async (query: string, by = key) =>
      (await get(`/actors?${query}`, by)).body.items.map((item: { id: string }) => item.id);
    expect(await ids('')).toEqual([id, `${id}.1`]);
    expect(await ids('kind=vm')).toEqual([`${id}.1`]);
    expect(await ids('state=running')).toEqual([id]);
    expect(await ids('state=running.idle.armed')).toEqual([id]);
    expect(await ids('state=starting')).toEqual([]);
    expect(await ids('label=app=wren')).toEqual([id]);
    expect(await ids('label=app=robin')).toEqual([]);
    expect(await ids('stuck=true')).toEqual([]);
    expect(await ids('', other)).toEqual([]);
    const first = (await get('/actors?limit=1')).body;
    expect(first.items[0].id).toBe(id);
    expect(await ids(`limit=1&cursor=${first.next_cursor}`)).toEqual([`${id}.1`]);
    expect((await get('/actors?all=true')).status).toBe(403);
    expect((await get('/actors?kind=bird')).status).toBe(400);
    const everything = await asAdmin('GET', '/actors?all=true');
    expect(everything.body.items.map((item: { id: string }) => item.id)).toEqual([hostId, id, `${id}.1`]);
  });

  test('the summary counts states', async () => {
    const { body } = await get('/actors/summary');
    expect(body.items).toContainEqual(expect.objectContaining({ kind: 'vm', path: 'ready', count: 1 }));
    expect(
      body.items.some((row: { kind: string; path: string }) => row.kind === 'sandbox' && row.path.includes('running')),
    ).toBe(true);
    expect((await get('/actors/summary', other)).body.items).toEqual([]);
  });

  test.each(['', '/journal', '/export'])('another team and platform hosts are 404 for a team (%s)', async (suffix) => {
    expect((await get(`/actors/sandbox/${id}${suffix}`, other)).status).toBe(404);
    expect((await get(`/actors/vm/${id}.1${suffix}`, other)).status).toBe(404);
    expect((await get(`/actors/host/${hostId}${suffix}`)).status).toBe(404);
    expect((await get(`/actors/bird/x${suffix}`)).status).toBe(400);
    expect((await asAdmin('GET', `/actors/host/${hostId}${suffix}`)).status).toBe(200);
  });

  test('machines are drawn from the machines themselves', async () => {
    const { body } = await get('/machines/sandbox/1');
    expect(body.root.states.map((state: { key: string }) => state.key)).toContain('running');
    expect((await get('/machines/vm/1')).body.kind).toBe('vm');
    expect((await get('/machines/sandbox/99')).status).toBe(404);
  });

  test('commands go the way of the REST verb', async () => {
    const command = (body: unknown, by = key, path = `sandbox/${id}`) =>
      call(fleet, 'POST', `/v1/actors/${path}/commands`, { key: by, body });
    expect((await command({ type: 'PING' })).status).toBe(200);
    expect(agent.commands.at(-1)?.name).toBe(`ping ${id}`);
    const patched = await command({ type: 'PATCH', timeout_sec: 0 });
    expect(patched.body.path).toContain('running.idle.off');
    expect((await command({ type: 'PATCH', timeout_sec: -5 })).status).toBe(400);
    expect((await command({ type: 'FLY' })).status).toBe(400);
    expect((await command({ type: 'VM_DIED' })).status).toBe(400);
    expect((await command({ type: 'PING' }, other)).status).toBe(404);
    expect((await command({ type: 'DRAIN' }, key, `host/${hostId}`)).status).toBe(404);
    const drained = await asAdmin('POST', `/actors/host/${hostId}/commands`, { type: 'DRAIN' });
    expect([drained.status, drained.body.path]).toEqual([200, expect.stringContaining('draining')]);
    await asAdmin('POST', `/actors/host/${hostId}/commands`, { type: 'UNDRAIN' });
  });

  test('open effects are retried and given up by platform admins only', async () => {
    agent.nextStart = 'never';
    const create = await call(fleet, 'POST', '/v1/sandboxes?wait=false', { key });
    const path = `/actors/sandbox/${create.body.id}`;
    const effects = async () => (await get(path)).body.effects;
    await expect.poll(async () => (await effects())[0]?.name).toBe('vm.create');
    const [effect] = await effects();
    expect(effect).toMatchObject({ state: 'starting', key: expect.any(String), last_error: null });
    expect((await call(fleet, 'POST', `/v1${path}/effects/${effect.number}/give-up`, { key })).status).toBe(401);
    expect((await asAdmin('POST', `${path}/effects/999/retry`)).status).toBe(404);
    expect((await asAdmin('POST', `${path}/effects/${effect.number}/give-up`)).status).toBe(204);
    await expect.poll(async () => (await get(path)).body.path).toBe('error');
  });

  test('the feed tells what happens, and resumes by cursor', async () => {
    const open = async (query: string, by = key) => {
      const socket = new WebSocket(`${fleet.url.replace('http', 'ws')}/v1/actors/feed?${query}`, {
        headers: { 'x-api-key': by },
      });
      // biome-ignore lint/suspicious/noExplicitAny: entries of all shapes
      const entries: any[] = [];
      socket.on('message', (data: Buffer) => entries.push(JSON.parse(data.toString())));
      await new Promise((resolve, reject) => socket.once('open', resolve).once('error', reject));
      return { socket, entries };
    };
    const [mine, theirs] = await Promise.all([open(''), open('', other)]);
    const { body: earlier } = await call(fleet, 'POST', '/v1/sandboxes', { key });
    await expect
      .poll(async () => {
        await call(fleet, 'POST', `/v1/sandboxes/${earlier.id}/ping`, { key });
        return mine.entries.length; // "from now on" has begun when something is heard
      })
      .toBeGreaterThan(0);
    const { body } = await call(fleet, 'POST', '/v1/sandboxes', { key });
    const types = (entries: { kind: string; id: string; outcome: string; event: { type: string } }[]) =>
      entries
        .filter(({ kind, id: of, outcome }) => kind === 'sandbox' && of === body.id && outcome === 'transition')
        .map(({ event }) => event.type);
    await expect.poll(() => types(mine.entries)).toEqual(['CREATE', 'RESERVED', 'VM_READY']);
    await expect.poll(() => mine.entries.some(({ kind, id: vm }) => kind === 'vm' && vm === `${body.id}.1`)).toBe(true);
    expect(JSON.stringify(mine.entries)).not.toMatch(/_token/);
    const [first] = mine.entries.filter(({ kind, id: of }) => kind === 'sandbox' && of === body.id);
    mine.socket.terminate();
    const resumed = await open(`cursor=${first.cursor}&id=${body.id}&kind=sandbox`);
    await expect.poll(() => types(resumed.entries)).toEqual(['RESERVED', 'VM_READY']);
    expect(theirs.entries).toEqual([]);
    resumed.socket.terminate();
    theirs.socket.terminate();
    await expect(open('cursor=nonsense')).rejects.toThrow('400');
  });
});

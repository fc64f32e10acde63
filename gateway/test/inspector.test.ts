import { afterAll, beforeAll, describe, expect, test, vi } from 'vitest';
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
  await vi.waitFor(async () => expect((await get(`/actors/vm/${id}.1`)).status).toBe(200), { timeout: 10_000 });
});
afterAll(() => fleet?.close());

describe('inspector (API11)', () => {
  test('an actor: state, context without secrets, timers, commands and why others are not, its VMs', async () => {
    const { status, body } = await get(`/actors/sandbox/${id}`);
    expect(status).toBe(200);
    expect(body).toMatchObject({ kind: 'sandbox', id, done: false, host_id: null, effects: [] });
    expect(body.path).toContain('running.idle.armed');
    expect(body.context).toMatchObject({ status: 'running', spec: { labels: { app: 'wren' } } });
    expect(body.timers.map((timer: { event: string }) => timer.event).length).toBeGreaterThan(0);
    expect(Date.parse(body.timers[0].due_at)).toBeGreaterThan(Date.now() + 800_000);
    expect(body.commands).toContainEqual({ type: 'DESTROY', title: 'Destroy', destructive: true, legal: true });
    const reason = 'It is running already. There is nothing to resume.';
    expect(body.commands).toContainEqual({ type: 'RESUME', title: 'Resume', destructive: false, legal: false, reason });
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
    expect(rest.body).toMatchObject({ next_after_seq: null, last_seq: rest.body.items.at(-1).seq });
    expect(JSON.stringify([body, rest.body])).not.toMatch(/hush|access_token|traffic_token/);
  });

  test('the journal is read backwards from its end', async () => {
    const last = (await get(`/actors/sandbox/${id}`)).body.seq;
    const { body } = await get(`/actors/sandbox/${id}/journal?order=desc&limit=2`);
    expect(body.items.map(({ seq }: { seq: number }) => seq)).toEqual([last, last - 1]);
    const rest = await get(`/actors/sandbox/${id}/journal?order=desc&before_seq=${body.next_before_seq}`);
    expect(rest.body.items.map(({ seq }: { seq: number }) => seq)).toEqual(
      Array.from({ length: last - 2 }, (_, i) => last - 2 - i),
    );
    expect(rest.body.next_before_seq).toBeNull();
    expect((await get(`/actors/sandbox/${id}/journal?order=desc&before_seq=1`)).body.items).toEqual([]);
  });

  test('any revision: state, context, diff and cause as they were', async () => {
    const now = (await get(`/actors/sandbox/${id}`)).body;
    const first = await get(`/actors/sandbox/${id}/revisions/1`);
    expect(first.body).toMatchObject({
      seq: 1,
      last_seq: now.seq,
      state: 'placing',
      path: 'placing',
      context: { status: 'pending', spec: { labels: { app: 'wren' } } },
      entry: { event: { type: 'CREATE' }, cause: { type: 'api_key', name: 'test' } },
    });
    const last = await get(`/actors/sandbox/${id}/revisions/${now.seq}`);
    expect(last.body).toMatchObject({ state: now.state, path: now.path, context: now.context });
    expect(last.body.context).toEqual(now.context);
    const vm = await get(`/actors/vm/${id}.1/revisions/1`);
    expect(vm.body).toMatchObject({ path: 'ready', context: { incarnation: 1 } });
    expect((await get(`/actors/sandbox/${id}/revisions/${now.seq + 1}`)).status).toBe(404);
    expect((await get(`/actors/sandbox/${id}/revisions/0`)).status).toBe(400);
    expect((await get(`/actors/sandbox/${id}/revisions/1`, other)).status).toBe(404);
    expect(JSON.stringify([first.body, vm.body])).not.toMatch(/hush|_token|"secret"/);
  });

  test('messages between control plane and host are paired, with latencies', async () => {
    const { body } = await get(`/actors/sandbox/${id}/messages`);
    const opened = (await get(`/actors/sandbox/${id}/journal`)).body.items.find(({ path }: { path: string }) =>
      path.startsWith('starting'),
    );
    expect(body.items).toMatchObject([
      { direction: 'down', type: 'CREATE', from: { kind: 'sandbox', id, seq: opened.seq }, to: { kind: 'vm', seq: 1 } },
      { direction: 'up', type: 'VM_READY', from: { kind: 'vm', id: `${id}.1`, seq: 1 }, to: { kind: 'sandbox', id } },
    ]);
    const [command, report] = body.items;
    expect(report.answers).toBe(command.id);
    expect(report.round_trip_ms).toBe(Date.parse(report.to.at) - Date.parse(command.from.at));
    expect(report.host_ms).toBe(Date.parse(report.from.at) - Date.parse(command.to.at));
    expect(report.latency_ms).toBe(Date.parse(report.to.at) - Date.parse(report.from.at));
    expect((await get(`/actors/sandbox/${id}/messages`, other)).status).toBe(404);
  });

  test('the export holds machine, actor and journal', async () => {
    const { status, body } = await get(`/actors/sandbox/${id}/export`);
    expect(status).toBe(200);
    expect(body.machine).toMatchObject({ kind: 'sandbox', version: body.actor.machine_version });
    expect(Object.keys(body.machines)).toEqual([String(body.actor.machine_version)]);
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
    const { path } = (await get(`/actors/sandbox/${id}`)).body;
    expect(await ids(`state=${encodeURIComponent(path)}`)).toEqual([id]);
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
    const { items } = (await get('/machines')).body;
    const path = (wanted: string) => {
      const { kind, version } = items.find(({ kind }: { kind: string }) => kind === wanted);
      return `/machines/${kind}/${version}`;
    };
    const { body } = await get(path('sandbox'));
    expect(body.root.states.map((state: { key: string }) => state.key)).toContain('running');
    expect((await get(path('vm'))).body.kind).toBe('vm');
    expect((await get('/machines/sandbox/99')).status).toBe(404);
  });

  test('versions that ran here earlier are still drawn', async () => {
    const { items } = (await get('/machines')).body;
    expect(items.filter(({ present }: { present: boolean }) => present).length).toBe(4);
    expect(items).toContainEqual({ kind: 'sandbox', version: 1, present: false });
    const { status, body } = await get('/machines/sandbox/1');
    expect([status, body.kind, body.version]).toEqual([200, 'sandbox', 1]);
    expect(body.root.states.map((state: { key: string }) => state.key)).toContain('running');
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

  test('a revision deep in a long journal is folded from a checkpoint', async () => {
    const { body } = await call(fleet, 'POST', '/v1/sandboxes', { key });
    const { runtime } = fleet.services;
    const ref = { kind: 'sandbox', id: body.id as string };
    for (let batch = 0; batch < 21; batch += 1) {
      const patches = Array.from({ length: 50 }, (_, n) => ({ type: 'PATCH', labels: { n: `${batch}.${n}` } }));
      await Promise.all(patches.map((patch) => runtime.ask(ref, patch, { cause: { type: 'system' } })));
    }
    const now = (await get(`/actors/sandbox/${ref.id}`)).body;
    expect(now.seq).toBeGreaterThan(1_050);
    const at = async (seq: number) => (await get(`/actors/sandbox/${ref.id}/revisions/${seq}`)).body;
    expect((await at(now.seq)).context).toEqual(now.context);
    for (const seq of [500, 501, 1_000, 1_001, now.seq - 1]) {
      const { entry, context } = await at(seq); // the checkpoints are known now
      if (entry.event.type === 'PATCH') expect(context.spec.labels).toEqual(entry.event.labels);
      expect(entry.seq).toBe(seq);
    }
  });

  test('a revision of a journal whose beginning is not kept any more has its state, and no context', async () => {
    const { body } = await call(fleet, 'POST', '/v1/sandboxes', { key });
    await call(fleet, 'DELETE', `/v1/sandboxes/${body.id}`, { key });
    const vm = `${body.id}.1`;
    await expect.poll(async () => (await get(`/actors/vm/${vm}`)).body.done).toBe(true);
    await fleet.services.sql.query('delete from vm_journal where id = $1 and seq = 1', [vm]);
    expect((await get(`/actors/vm/${vm}/revisions/2`)).body).toMatchObject({ path: 'gone', context: null });
    expect((await get(`/actors/vm/${vm}/revisions/1`)).status).toBe(404);
  });

  test('commands by the inspector are audited as those of the REST verb', async () => {
    const { body } = await call(fleet, 'POST', '/v1/sandboxes', { key });
    await call(fleet, 'DELETE', `/v1/sandboxes/${id}`, { key });
    await call(fleet, 'POST', `/v1/actors/sandbox/${body.id}/commands`, { key, body: { type: 'DESTROY' } });
    const { rows } = await fleet.services.sql.query(
      `select resource_id, action, actor_type, actor_name, status from audit_logs
        where resource_id = any ($1) and action not like '%create%' order by resource_id = $2`,
      [[id, body.id], body.id],
    );
    const [byVerb, byInspector] = [id, body.id].map((one) => rows.filter(({ resource_id }) => resource_id === one));
    expect(byInspector?.length).toBeGreaterThan(0);
    const what = (list: typeof rows | undefined) => list?.map(({ resource_id: _, ...rest }) => rest).at(-1);
    expect(what(byInspector)).toEqual(what(byVerb));
  });
});

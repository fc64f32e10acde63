import { afterAll, beforeAll, describe, expect, onTestFinished, test } from 'vitest';
import { claimName, releaseName } from '../src/snapshots/claim-name.ts';
import { newSnapshotId } from '../src/snapshots/snapshot-id.ts';
import { call } from './gateway.ts';
import type { BareAgent } from './testing/bare-agent.ts';
import { type Fleet, startFleet } from './testing/fleet.ts';

let plane: Fleet;
let key: string;
let other: string;
let hostId: string;
let agent: BareAgent;

beforeAll(async () => {
  plane = await startFleet();
  key = await plane.newKey();
  other = await plane.newKey();
  ({ id: hostId, agent } = await plane.addHost({ vcpus: 8, memoryMb: 8_192 }));
});
afterAll(() => plane?.close());

type Body = Record<string, unknown>;
const api = (method: string, path: string, body?: unknown, by = key) =>
  call(plane, method, `/v1${path}`, { key: by, ...(body !== undefined && { body }) });
const create = async (body: Body = {}) => (await api('POST', '/sandboxes', body)).body;
const destroy = (id: string) => api('DELETE', `/sandboxes/${id}`);
const rows = async (sql: string, values: unknown[] = []) => (await plane.services.sql.query(sql, values)).rows;

describe('snapshots (SN9, API4)', () => {
  test('a create that is asked for again gets its first answer, also when its template is gone (API1)', async () => {
    const { id } = await create();
    await api('POST', '/snapshots', { sandbox_id: id, name: 'short-lived' });
    const headers = { 'idempotency-key': 'from-short-lived' };
    const ask = (body: Body) => call(plane, 'POST', '/v1/sandboxes', { key, body, headers });
    const first = await ask({ template: 'short-lived' });
    expect(first.status).toBe(201);
    await api('DELETE', '/snapshots/short-lived');
    const again = await ask({ template: 'short-lived' });
    expect([again.status, again.body.id]).toEqual([201, first.body.id]);
    expect((await ask({ template: 'short-lived', timeout_sec: 60 })).status).toBe(409);
    expect((await api('POST', '/sandboxes', { template: 'short-lived' })).body.error.code).toBe('template_not_found');
    for (const one of [id, first.body.id]) await destroy(one);
  });

  test('of a running sandbox, which runs on; others start from it on the host where it lies', async () => {
    const { id } = await create({ vcpus: 2, memory_mb: 256 });
    const made = await api('POST', '/snapshots', { sandbox_id: id, name: 'warm-cache' });
    expect(made.status).toBe(201);
    expect(made.body).toMatchObject({
      name: 'warm-cache',
      type: 'snapshot',
      platform: false,
      vcpus: 2,
      memory_mb: 256,
      disk_size_mb: 20_480,
      size_bytes: 16_000_000,
      host_id: hostId,
      sandbox_id: id,
    });
    expect((await api('GET', `/sandboxes/${id}`)).body).toMatchObject({ status: 'running', operation: 'none' });

    const started = await Promise.all([1, 2].map(() => api('POST', '/sandboxes', { template: 'warm-cache' })));
    for (const { status, body } of started) {
      expect(status).toBe(201);
      expect(body).toMatchObject({
        status: 'running',
        template: 'warm-cache',
        vcpus: 2,
        memory_mb: 256,
        host_id: hostId,
      });
    }
    expect(agent.commands.some(({ name }) => name.startsWith('create from tpl-'))).toBe(true);

    // Neither needs the other (SN9).
    await destroy(id);
    expect((await api('DELETE', '/snapshots/warm-cache')).status).toBe(204);
    expect((await api('DELETE', '/snapshots/warm-cache')).status).toBe(404);
    await expect.poll(() => agent.snapshots.size).toBe(0);
    for (const { body } of started) {
      expect((await api('GET', `/sandboxes/${body.id}`)).body.status).toBe('running');
      await destroy(body.id);
    }
    const gone = await api('POST', '/sandboxes', { template: 'warm-cache' });
    expect(gone).toMatchObject({ status: 404, body: { error: { code: 'template_not_found' } } });
  });

  test('asked for again with its Idempotency-Key it is the first one; another body is 409 (API4)', async () => {
    const [one, two] = [await create(), await create()];
    const body = { sandbox_id: one.id, name: 'asked-twice' };
    const ask = (other: Body = {}) =>
      call(plane, 'POST', '/v1/snapshots', {
        key,
        body: { ...body, ...other },
        headers: { 'idempotency-key': 'mine' },
      });
    const held = agent.snapshots.size;
    const [first, raced] = await Promise.all([ask(), ask()]);
    expect(first.status, JSON.stringify(first.body)).toBe(201);
    expect(first.body).toMatchObject({ name: 'asked-twice', sandbox_id: one.id, host_id: hostId });
    expect(raced).toMatchObject({ status: 201, body: first.body });
    expect(agent.snapshots.size).toBe(held + 1);
    const listed = (await api('GET', '/snapshots?type=snapshot')).body.items;
    expect(listed.find(({ name }: Body) => name === 'asked-twice')).toEqual(first.body);
    for (const other of [{ name: 'another' }, { sandbox_id: two.id }]) {
      const refused = await ask(other);
      expect([refused.status, refused.body.error.code]).toEqual([409, 'conflict']);
    }
    expect((await api('POST', '/snapshots', body)).body.error.code).toBe('already_exists');

    // Its first answer stands whatever has become of it since.
    await api('DELETE', '/snapshots/asked-twice');
    for (const { id } of [one, two]) await destroy(id);
    expect(await ask()).toMatchObject({ status: 201, body: first.body });
    expect((await ask({ name: 'another' })).body.error.code).toBe('conflict');
    await expect.poll(() => agent.snapshots.size).toBe(held);
    expect(await rows(`select id from templates where name in ('asked-twice', 'another')`)).toEqual([]);
  });

  test('asked for many times at the same moment it has its name (API4)', async () => {
    const { id: sandboxId } = await create();
    const { team_id: teamId } = (await rows('select team_id from sandboxes where id = $1', [sandboxId]))[0];
    for (let round = 0; round < 40; round += 1) {
      const claim = { teamId, sandboxId, snapshotId: newSnapshotId(), name: `moment-${round}` };
      await Promise.all(Array.from({ length: 3 }, () => claimName(plane.services.sql, claim)));
      await releaseName(plane.services.sql, claim.snapshotId);
    }
    await destroy(sandboxId);
  });

  test('a key whose snapshot is still in the making does not stand for another body; one that failed stays failed', async () => {
    const [one, two] = [await create(), await create()];
    const ask = (sandboxId: string, name: string, idempotencyKey: string) =>
      call(plane, 'POST', '/v1/snapshots', {
        ...{ key, body: { sandbox_id: sandboxId, name }, headers: { 'idempotency-key': idempotencyKey } },
      });
    agent.nextSave = 'held';
    const first = ask(one.id, 'held', 'busy');
    await expect.poll(() => agent.commands.at(-1)?.name).toBe('snapshot');
    for (const refused of [await ask(one.id, 'other', 'busy'), await ask(two.id, 'held', 'busy')]) {
      expect([refused.status, refused.body.error.code]).toEqual([409, 'conflict']);
    }
    agent.letGo();
    expect((await first).status).toBe(201);
    agent.nextSave = 'fails';
    const failed = await ask(two.id, 'fails', 'unlucky');
    expect(failed.status).toBe(502);
    expect(await ask(two.id, 'fails', 'unlucky')).toMatchObject({ status: 502, body: failed.body });
    for (const { id } of [one, two]) await destroy(id);
    await api('DELETE', '/snapshots/held');
  });

  test('of a paused sandbox; other sizes than its own are 400 with what it has', async () => {
    const { id } = await create({ memory_mb: 256 });
    await api('POST', `/sandboxes/${id}/pause`);
    expect((await api('POST', '/snapshots', { sandbox_id: id, name: 'asleep' })).status).toBe(201);
    expect((await api('GET', `/sandboxes/${id}`)).body.status).toBe('paused');
    for (const [field, value, has] of [
      ['vcpus', 4, '1'],
      ['memory_mb', 512, '256'],
      ['disk_size_mb', 30_000, '20480'],
    ] as const) {
      const answer = await api('POST', '/sandboxes', { template: 'asleep', [field]: value });
      expect(answer.status).toBe(400);
      expect(answer.body.error.message).toContain(`${field}: the template has ${has}`);
    }
    const same = await api('POST', '/sandboxes', { template: 'asleep', vcpus: 1, memory_mb: 256 });
    expect(same.status).toBe(201);
    await Promise.all([destroy(id), destroy(same.body.id), api('DELETE', '/snapshots/asleep')]);
  });

  test('names are unique in the team and none of the platform; malformed, foreign and unknown ones', async () => {
    const { id } = await create();
    const make = (body: Body, by = key) => api('POST', '/snapshots', { sandbox_id: id, name: 'one', ...body }, by);
    expect((await make({})).status).toBe(201);
    expect(await make({})).toMatchObject({ status: 409, body: { error: { code: 'already_exists' } } });
    expect((await make({ name: 'minimal' })).status).toBe(409);
    for (const name of ['', 'UPPER', '-x', 'a/b', 'x'.repeat(129)]) expect((await make({ name })).status).toBe(400);
    expect((await make({ sandbox_id: 'sb-1' })).status).toBe(400);
    expect((await make({ colour: 'red' })).status).toBe(400);
    expect((await make({ name: 'two' }, other)).status).toBe(404);
    expect((await api('DELETE', '/snapshots/one', undefined, other)).status).toBe(404);
    expect((await api('DELETE', '/snapshots/minimal')).status).toBe(403);
    expect((await api('GET', '/snapshots?type=snapshot', undefined, other)).body.items).toEqual([]);
    await Promise.all([destroy(id), api('DELETE', '/snapshots/one')]);
  });

  test('are listed page by page, by type, with the platform templates', async () => {
    const { id } = await create();
    for (const name of ['b-snap', 'a-snap']) await api('POST', '/snapshots', { sandbox_id: id, name });
    const names = async (query: string) =>
      (await api('GET', `/snapshots?${query}`)).body.items.map(({ name }: { name: string }) => name);
    expect(await names('type=snapshot')).toEqual(['a-snap', 'b-snap']);
    expect(await names('type=base,snapshot')).toEqual(expect.arrayContaining(['a-snap', 'b-snap', 'minimal']));
    const first = (await api('GET', '/snapshots?type=snapshot&limit=1')).body;
    expect(await names(`type=snapshot&limit=1&cursor=${first.next_cursor}`)).toEqual(['b-snap']);
    expect((await api('GET', '/templates?type=snapshot')).body.items).toHaveLength(2);
    await Promise.all([destroy(id), api('DELETE', '/snapshots/a-snap'), api('DELETE', '/snapshots/b-snap')]);
  });

  test('one that fails leaves nothing: the name is free, and the host is told to delete it', async () => {
    const { id } = await create();
    agent.nextSave = 'fails';
    const failed = await api('POST', '/snapshots', { sandbox_id: id, name: 'again' });
    expect(failed).toMatchObject({ status: 502, body: { error: { code: 'snapshot_failed' } } });
    await expect.poll(async () => await rows(`select 1 from templates where name = 'again'`)).toEqual([]);
    await expect.poll(() => agent.commands.at(-1)?.name).toMatch(/^delete tpl-/);
    expect((await api('POST', '/snapshots', { sandbox_id: id, name: 'again' })).status).toBe(201);
    await api('POST', `/sandboxes/${id}/pause`);
    await destroy(id);
    // Refused: a stopped sandbox has nothing to keep.
    const refused = await api('POST', '/snapshots', { sandbox_id: id, name: 'late' });
    expect(refused).toMatchObject({ status: 409, body: { error: { details: { state: 'stopped' } } } });
    expect(await rows(`select 1 from templates where name = 'late'`)).toEqual([]);
    await api('DELETE', '/snapshots/again');
  });

  test('one that is deleted while a sandbox is being started from it is a template that is not there', async () => {
    const { id } = await create();
    await api('POST', '/snapshots', { sandbox_id: id, name: 'brief' });
    agent.snapshots.clear(); // its name is still to be taken away
    const late = await api('POST', '/sandboxes', { template: 'brief' });
    expect([late.status, late.body.error.code]).toEqual([404, 'template_not_found']);
    await api('DELETE', '/snapshots/brief');
    await destroy(id);
  });

  test('a deletion is complete although the host was away (TPL6)', async () => {
    const { id } = await create();
    await api('POST', '/snapshots', { sandbox_id: id, name: 'far' });
    const deleting = async () =>
      (await plane.services.runtime.list({ kind: 'snapshot', path: 'deleting' })).items.length;
    await expect.poll(deleting).toBe(0); // those of the tests before
    agent.away = true;
    onTestFinished(() => {
      agent.away = false;
    });
    expect((await api('DELETE', '/snapshots/far')).status).toBe(204);
    expect((await api('GET', '/snapshots?type=snapshot')).body.items).toEqual([]);
    expect(await deleting()).toBe(1);
    expect(agent.snapshots.size).toBe(1);
    agent.away = false;
    await expect.poll(() => agent.snapshots.size, { timeout: 20_000 }).toBe(0);
    await destroy(id);
  });
});

describe('fork (SN10, API1)', () => {
  const fork = (id: string, body: unknown, headers: Record<string, string> = {}) =>
    call(plane, 'POST', `/v1/sandboxes/${id}/fork`, { key, body, headers });

  test.each([{ count: 0 }, { count: 101 }, { count: 1.5 }, { count: '2' }, { size: 1 }])('%j is 400', async (body) => {
    const { id } = await create();
    expect((await fork(id, body)).status).toBe(400);
    await destroy(id);
  });

  test('children run with what their parent had, ids and tokens of their own; the snapshot goes with the last', async () => {
    const parent = await create({ labels: { a: 'b' }, timeout_sec: 500, memory_mb: 128, public_ports: [80] });
    const { status, body } = await fork(parent.id, { count: 3 });
    expect(status).toBe(201);
    expect(body.items).toHaveLength(3);
    const children = body.items.map(({ sandbox }: { sandbox: Body }) => sandbox);
    for (const child of children) {
      expect(child).toMatchObject({
        status: 'running',
        template: 'minimal',
        labels: { a: 'b' },
        timeout_sec: 500,
        memory_mb: 128,
        public_ports: [80],
        host_id: hostId,
      });
    }
    const tokens = [parent, ...children].flatMap(({ id, traffic_token }) => [id, traffic_token]);
    expect(new Set(tokens).size).toBe(8);
    const commands = agent.commands.map(({ name }) => name);
    expect(commands.filter((name) => name === 'fork into 3')).toHaveLength(1);
    await expect.poll(() => agent.snapshots.size).toBe(0);
    expect(await rows(`select 1 from templates where type = 'snapshot'`)).toEqual([]);
    for (const { id } of [parent, ...children]) await destroy(id);
  });

  test('a child that has no room or does not start is an error of its own', async () => {
    const parent = await create({ vcpus: 3 });
    const { status, body } = await fork(parent.id, { count: 3 });
    expect(status).toBe(201);
    const errors = body.items.flatMap((item: { error?: Body }) => (item.error ? [item.error] : []));
    expect(errors.map(({ code }: Body) => code)).toEqual(['no_hosts_available', 'no_hosts_available']);
    const [child] = body.items.flatMap((item: { sandbox?: Body }) => (item.sandbox ? [item.sandbox] : []));
    await destroy(child.id);
    agent.nextStart = { code: 'vmm_failed', message: 'QEMU ended at once', retryable: true };
    const failed = await fork(parent.id, { count: 1 });
    expect(failed.body.items[0].error).toMatchObject({ code: 'vmm_failed', message: 'QEMU ended at once' });
    for (const { sandbox_id } of errors) {
      expect((await api('GET', `/sandboxes/${sandbox_id}`)).body.status).toBe('error');
    }
    await expect.poll(() => agent.snapshots.size).toBe(0);
    const { items } = (await api('GET', '/sandboxes')).body;
    await Promise.all(items.map(({ id }: { id: string }) => destroy(id)));
  });

  test('of a paused one, which stays paused; the same Idempotency-Key gets the same children, or 409 with another count', async () => {
    const parent = await create({ memory_mb: 128 });
    await api('POST', `/sandboxes/${parent.id}/pause`);
    const headers = { 'idempotency-key': 'twins' };
    const first = await fork(parent.id, { count: 2 }, headers);
    const second = await fork(parent.id, { count: 2 }, headers);
    const ids = ({ body }: typeof first) => body.items.map(({ sandbox }: { sandbox: Body }) => sandbox.id);
    expect(ids(second)).toEqual(ids(first));
    const other = await fork(parent.id, { count: 3 }, headers);
    expect([other.status, other.body.error.code]).toEqual([409, 'conflict']);
    expect((await api('GET', `/sandboxes/${parent.id}`)).body.status).toBe('paused');
    for (const id of [parent.id, ...ids(first)]) await destroy(id);
  });

  test('is in the audit trail, with who and how many (AUD1)', async () => {
    const parent = await create({ memory_mb: 128 });
    const { body } = await fork(parent.id, {});
    const trail = await rows(`select action, actor_type, metadata from audit_logs where resource_id = $1 order by at`, [
      parent.id,
    ]);
    expect(trail.at(-1)).toMatchObject({ action: 'sandbox.fork', actor_type: 'api_key', metadata: { count: 1 } });
    for (const id of [parent.id, body.items[0].sandbox.id]) await destroy(id);
  });
});

describe('with two hosts', () => {
  test('a host without room for it is 503 with that reason, although another has room', async () => {
    const { id } = await create({ vcpus: 8 });
    await api('POST', '/snapshots', { sandbox_id: id, name: 'big' });
    const answer = await api('POST', '/sandboxes', { template: 'big' });
    expect(answer.status).toBe(503);
    expect(answer.body.error.message).toContain(hostId);
    await plane.addHost({ vcpus: 8, memoryMb: 8_192 });
    expect((await api('POST', '/sandboxes', { template: 'big' })).status).toBe(503);
    expect((await api('POST', '/sandboxes', { vcpus: 8 })).status).toBe(201);
    const { items } = (await api('GET', '/sandboxes')).body;
    await Promise.all(items.map((one: { id: string }) => destroy(one.id)));
    await api('DELETE', '/snapshots/big');
  });

  test('what lies on a host that was removed is no template any more, and its name is free', async () => {
    const { id } = await create({ vcpus: 1 });
    const made = await api('POST', '/snapshots', { sandbox_id: id, name: 'left-behind' });
    await destroy(id);
    // As where the sandbox tells of it when the removal has been told of already.
    await plane.services.sql.query(`update hosts set status = 'deleted' where id = $1`, [made.body.host_id]);
    expect((await api('GET', '/snapshots?type=snapshot')).body.items).toEqual([]);
    expect((await api('POST', '/sandboxes', { template: 'left-behind' })).body.error.code).toBe('template_not_found');
    const other = await create({ vcpus: 1 });
    const again = await api('POST', '/snapshots', { sandbox_id: other.id, name: 'left-behind' });
    expect(again.status).toBe(201);
    expect(again.body.host_id).not.toBe(made.body.host_id);
    await destroy(other.id);
  });
});

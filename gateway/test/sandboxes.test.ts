import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { call } from './gateway.ts';
import type { BareAgent } from './testing/bare-agent.ts';
import { type Fleet, startFleet } from './testing/fleet.ts';

let plane: Fleet;
let key: string;
let other: string;

beforeAll(async () => {
  plane = await startFleet();
  key = await plane.newKey();
  other = await plane.newKey();
});
afterAll(() => plane?.close());

describe('without a host', () => {
  test('create is 503 no_hosts_available, and the sandbox is in error, holding nothing (H5)', async () => {
    const answer = await call(plane, 'POST', '/v1/sandboxes', { key });
    expect(answer.status).toBe(503);
    expect(answer.body.error).toMatchObject({ code: 'no_hosts_available', details: { status: 'error' } });
    const id = answer.body.error.details.sandbox_id;
    const { body } = await call(plane, 'GET', `/v1/sandboxes/${id}`, { key });
    expect(body).toMatchObject({
      status: 'error',
      reason: { code: 'no_hosts_available' },
      legal_commands: ['DESTROY'],
    });
    expect((await plane.services.sql.query('select 1 from reservations')).rowCount).toBe(0);
    expect((await call(plane, 'DELETE', `/v1/sandboxes/${id}`, { key })).status).toBe(204);
  });

  test.each([
    [{ vcpus: 9 }, 'vcpus', 'from 1 to 8'],
    [{ vcpus: 0 }, 'vcpus', 'from 1 to 8'],
    [{ memory_mb: 64 }, 'memory_mb', 'from 128 to 8192'],
    [{ disk_size_mb: 200_000 }, 'disk_size_mb', 'from 20480 to 102400'],
    [{ vcpus: 1.5 }, 'vcpus', 'from 1 to 8'],
    [{ timeout_sec: -1 }, 'timeout_sec', 'from 0'],
    [{ labels: { 'bad name': 'x' } }, 'labels', 'label names'],
    [{ envs: { A: 'a\0b' } }, 'envs.A', 'NUL'],
    [{ public_ports: [70_000] }, 'public_ports', '65535'],
    [{ ends_at: 'tomorrow' }, 'ends_at', 'RFC 3339'],
    [{ colour: 'red' }, 'colour', 'unknown field'],
    [{ on_timeout: 'sleep' }, 'on_timeout', 'must be one of "pause", "destroy"'],
    [{ auto_resume: 'yes' }, 'auto_resume', 'must be true or false'],
    [{ labels: { a: 1 } }, 'labels.a', 'must be a string'],
    [{ labels: ['a'] }, 'labels', 'must be an object'],
    [[], '', 'must be an object'],
  ])('%j is 400 and says why (VM10)', async (body, field, words) => {
    const answer = await call(plane, 'POST', '/v1/sandboxes', { key, body });
    expect(answer.status).toBe(400);
    expect(answer.body.error.message).toContain(words);
    expect(answer.body.error.details.fields[0].field).toContain(field);
  });

  test('an unknown template is refused', async () => {
    const answer = await call(plane, 'POST', '/v1/sandboxes', { key, body: { template: 'nope' } });
    expect(answer.status).toBe(404);
    expect(answer.body.error.code).toBe('template_not_found');
  });
});

describe('with a host', () => {
  let hostId: string;
  let agent: BareAgent;
  beforeAll(async () => {
    ({ id: hostId, agent } = await plane.addHost({ vcpus: 4, memoryMb: 4_096 }));
  });

  const create = (body: unknown = {}, headers: Record<string, string> = {}, query = '') =>
    call(plane, 'POST', `/v1/sandboxes${query}`, { key, body, headers });
  const destroy = (id: string) => call(plane, 'DELETE', `/v1/sandboxes/${id}`, { key });

  test("TPL7: a size that is not named is the template's", async () => {
    const { body } = await create({ template: 'code-interpreter' });
    expect(body).toMatchObject({ vcpus: 1, memory_mb: 1_024 });
    await destroy(body.id);
  });

  test('a sandbox is created, shown, changed, pinged and destroyed (API1)', async () => {
    const created = await create({ labels: { app: 'wren' }, timeout_sec: 600, vcpus: 2, memory_mb: 256 });
    expect(created.status).toBe(201);
    expect(created.body).toMatchObject({
      status: 'running',
      template: 'minimal',
      vcpus: 2,
      memory_mb: 256,
      disk_size_mb: 20_480,
      timeout_sec: 600,
      labels: { app: 'wren' },
      host_id: hostId,
      host_ip: '10.11.0.1',
      legal_commands: ['DESTROY', 'PATCH', 'PING', 'PAUSE', 'SNAPSHOT', 'FORK'],
    });
    expect(created.body.id).toMatch(/^sb[a-z0-9]{20}$/);
    expect(created.body.traffic_token).toMatch(/^[\w-]{43}$/);
    expect(JSON.stringify(created.body)).not.toContain('access_token');
    const path = `/v1/sandboxes/${created.body.id}`;
    const reserved = await plane.services.sql.query('select vcpus, memory_mb from reservations');
    expect(reserved.rows).toEqual([{ vcpus: 2, memory_mb: 320 }]);

    const patched = await call(plane, 'PATCH', path, { key, body: { labels: { app: 'robin' }, timeout_sec: 5_000 } });
    expect(patched.status).toBe(200);
    expect(patched.body).toMatchObject({ labels: { app: 'robin' }, timeout_sec: 5_000 });
    const end = '2040-01-01T00:00:00.000Z';
    expect((await call(plane, 'PATCH', path, { key, body: { ends_at: end } })).body.ends_at).toBe(end);
    expect((await call(plane, 'PATCH', path, { key, body: { ends_at: null } })).body.ends_at).toBeNull();
    expect((await call(plane, 'PATCH', path, { key, body: {} })).status).toBe(400);
    expect((await call(plane, 'PATCH', path, { key, body: { vcpus: 3 } })).status).toBe(400);

    expect((await call(plane, 'POST', `${path}/ping`, { key })).status).toBe(204);
    expect(agent.commands.at(-1)?.name).toBe(`ping ${created.body.id}`);

    expect((await destroy(created.body.id)).status).toBe(204);
    const gone = await call(plane, 'GET', path, { key });
    expect(gone.body).toMatchObject({ status: 'stopped', reason: { code: 'destroyed' }, legal_commands: [] });
    expect((await plane.services.sql.query('select 1 from reservations')).rowCount).toBe(0);
    const again = await destroy(created.body.id);
    expect(again.status).toBe(409);
    expect(again.body.error).toMatchObject({
      code: 'illegal_command',
      details: { state: 'stopped', legal_commands: [], since: gone.body.status_since },
    });
  });

  test('the same Idempotency-Key makes one sandbox and gets one answer; with another body it is refused', async () => {
    const headers = { 'idempotency-key': 'order-1' };
    const answers = await Promise.all([create({ vcpus: 1 }, headers), create({ vcpus: 1 }, headers)]);
    expect(answers.map(({ status }) => status)).toEqual([201, 201]);
    expect(answers[0]?.body.id).toBe(answers[1]?.body.id);
    const different = await create({ vcpus: 2 }, headers);
    expect(different).toMatchObject({ status: 409, body: { error: { code: 'conflict' } } });
    expect((await create({}, { 'idempotency-key': 'a b' })).status).toBe(400);
    await destroy(answers[0]?.body.id);
  });

  test('wait=false answers before it runs', async () => {
    const accepted = await create({}, {}, '?wait=false');
    expect(accepted.status).toBe(201);
    expect(['pending', 'starting', 'running']).toContain(accepted.body.status);
    await expect
      .poll(async () => (await call(plane, 'GET', `/v1/sandboxes/${accepted.body.id}`, { key })).body.status)
      .toBe('running');
    await destroy(accepted.body.id);
  });

  test('lists page by cursor, by status and by label, and of the own team only', async () => {
    const made = [];
    for (const n of [1, 2, 3]) made.push((await create({ labels: { n: String(n), page: 'yes' } })).body.id);
    await destroy(made[0]);
    const list = (query: string, by = key) => call(plane, 'GET', `/v1/sandboxes?${query}`, { key: by });
    const ids = async (query: string, by = key) =>
      (await list(query, by)).body.items.map((item: { id: string }) => item.id);
    expect(await ids('label=page=yes')).toEqual([made[2], made[1]]);
    expect(await ids('label=page=yes&label=n=2')).toEqual([made[1]]);
    expect(await ids('label=page=yes&status=stopped')).toEqual([made[0]]);
    const first = (await list('label=page=yes&status=stopped,running&limit=2')).body;
    expect(first.items.map((item: { id: string }) => item.id)).toEqual([made[2], made[1]]);
    expect(await ids(`label=page=yes&status=stopped,running&limit=2&cursor=${first.next_cursor}`)).toEqual([made[0]]);
    expect(await ids('label=page=yes', other)).toEqual([]);
    expect((await list('status=flying')).status).toBe(400);
    expect((await list('cursor=nonsense')).status).toBe(400);
    await Promise.all([destroy(made[1]), destroy(made[2])]);
  });

  test('a malformed id is 400, an unknown and a foreign one 404', async () => {
    const { body } = await create();
    for (const method of ['GET', 'DELETE', 'PATCH']) {
      const options = { key: other, ...(method === 'PATCH' && { body: { labels: {} } }) };
      expect((await call(plane, method, `/v1/sandboxes/${body.id}`, options)).status).toBe(404);
      expect((await call(plane, method, `/v1/sandboxes/sb${'0'.repeat(20)}`, options)).status).toBe(404);
      expect((await call(plane, method, '/v1/sandboxes/sb-1', options)).status).toBe(400);
    }
    expect((await call(plane, 'POST', `/v1/sandboxes/${body.id}/ping`, { key: other })).status).toBe(404);
    await destroy(body.id);
  });

  test('a host that refuses a start for lack of room is left for the next one; none: error with the reason', async () => {
    agent.nextStart = 'no_slots';
    const answer = await create();
    expect(answer.status).toBe(503);
    expect(answer.body.error).toMatchObject({ code: 'no_hosts_available', details: { reason: 'no_slots_available' } });
    const { body } = await call(plane, 'GET', `/v1/sandboxes/${answer.body.error.details.sandbox_id}`, { key });
    expect(body.status).toBe('error');
  });

  test('a start that fails for good is told with its code, and everything is released', async () => {
    agent.nextStart = { code: 'vmm_failed', message: 'QEMU ended at once', retryable: false };
    const answer = await create();
    expect(answer.status).toBe(502);
    expect(answer.body.error).toMatchObject({ code: 'vm_failed', details: { reason: 'vmm_failed', status: 'error' } });
    expect(agent.commands.at(-1)?.name).toBe('destroy');
    expect((await plane.services.sql.query('select 1 from reservations')).rowCount).toBe(0);
  });

  test('a VM that dies by itself puts its sandbox into error, by the watch, with reason and console', async () => {
    const { body } = await create();
    agent.crash(body.id);
    const path = `/v1/sandboxes/${body.id}`;
    await expect.poll(async () => (await call(plane, 'GET', path, { key })).body.status).toBe('error');
    const dead = await call(plane, 'GET', path, { key });
    expect(dead.body.reason).toEqual({ code: 'vmm_exited', message: 'the VMM was killed by a signal' });
    const exec = await call(plane, 'POST', `${path}/exec`, { key, body: { cmd: 'true' } });
    expect(exec).toMatchObject({ status: 409, body: { error: { code: 'not_running', details: { state: 'error' } } } });
    expect(exec.body.error.details).toMatchObject({ since: dead.body.status_since, legal_commands: ['DESTROY'] });
    await destroy(body.id);
  });

  test('an idle sandbox with on_timeout destroy is destroyed, unless the host knows of activity (SN7)', async () => {
    agent.idleMs = 300;
    const { body } = await create({ timeout_sec: 1, on_timeout: 'destroy' });
    await expect
      .poll(() => agent.commands.some(({ name }) => name === 'destroy if idle'), { timeout: 4_000 })
      .toBe(true);
    expect((await call(plane, 'GET', `/v1/sandboxes/${body.id}`, { key })).body.status).toBe('running');
    agent.idleMs = 5_000;
    const status = async () => (await call(plane, 'GET', `/v1/sandboxes/${body.id}`, { key })).body;
    await expect.poll(async () => (await status()).status, { timeout: 8_000 }).toBe('stopped');
    expect((await status()).reason.code).toBe('idle_timeout');
  });

  test('capacity is never overbooked, whatever comes at once (I6)', async () => {
    const answers = await Promise.all(Array.from({ length: 8 }, () => create({ vcpus: 1, memory_mb: 512 })));
    const made = answers.filter(({ status }) => status === 201);
    const refused = answers.filter(({ status }) => status === 503);
    expect([made.length, refused.length]).toEqual([4, 4]);
    const { rows } = await plane.services.sql.query('select sum(vcpus)::int as vcpus from reservations');
    expect(rows[0].vcpus).toBe(4);
    await Promise.all(made.map(({ body }) => destroy(body.id)));
    expect((await plane.services.sql.query('select 1 from reservations')).rowCount).toBe(0);
  });
});

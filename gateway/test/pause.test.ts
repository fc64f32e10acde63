import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { wakeSandbox } from '../src/sandboxes/wake-sandbox.ts';
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
  ({ id: hostId, agent } = await plane.addHost({ vcpus: 4, memoryMb: 4_096 }));
});
afterAll(() => plane?.close());

const create = async (body: unknown = {}) => (await call(plane, 'POST', '/v1/sandboxes', { key, body })).body;
const get = async (id: string) => (await call(plane, 'GET', `/v1/sandboxes/${id}`, { key })).body;
const post = (
  id: string,
  verb: string,
  options: { key?: string; body?: unknown; headers?: Record<string, string> } = {},
) => call(plane, 'POST', `/v1/sandboxes/${id}/${verb}`, { key, ...options });
const destroy = (id: string) => call(plane, 'DELETE', `/v1/sandboxes/${id}`, { key });
const reserved = async (id: string) =>
  (await plane.services.sql.query('select 1 from reservations where sandbox_id = $1', [id])).rowCount;
const commandsOf = (id: string) =>
  agent.commands
    .filter(({ command }) => command?.sandboxId === id)
    .map(({ name, command }) => [name, command?.incarnation]);

describe('pause and resume (API1, SN1)', () => {
  test('files instead of a VM, and back under the same id with the next incarnation', async () => {
    const { id } = await create({ timeout_sec: 600, labels: { a: 'b' } });
    const paused = await post(id, 'pause');
    expect(paused.status).toBe(200);
    expect(paused.body).toMatchObject({
      id,
      status: 'paused',
      host_id: hostId,
      host_ip: null,
      timeout_sec: 600,
      unreachable: false,
      operation: 'none',
      snapshot: { memory_bytes: 12_000_000, disk_bytes: 4_000_000 },
      legal_commands: ['DESTROY', 'PATCH', 'RESUME', 'SNAPSHOT', 'FORK'],
    });
    expect(Date.parse(paused.body.paused_at)).toBeGreaterThan(Date.parse(paused.body.created_at));
    expect(await reserved(id)).toBe(0);

    const resumed = await post(id, 'resume');
    expect(resumed.status).toBe(200);
    expect(resumed.body).toMatchObject({ id, status: 'running', timeout_sec: 600, labels: { a: 'b' } });
    expect(resumed.body.snapshot).toBeUndefined();
    expect(resumed.body.started_at).toBe(paused.body.started_at);
    expect(await reserved(id)).toBe(1);
    expect(commandsOf(id)).toEqual([
      ['create', 1],
      ['pause', 1],
      ['resume', 2],
    ]);
    expect((await destroy(id)).status).toBe(204);
    expect(commandsOf(id).at(-1)).toEqual(['destroy', 2]);
  });

  test('a paused one takes labels and timeouts, refuses what needs a guest, and is destroyed with its files', async () => {
    const { id } = await create();
    await post(id, 'pause');
    const patched = await call(plane, 'PATCH', `/v1/sandboxes/${id}`, { key, body: { timeout_sec: 77 } });
    expect(patched.body).toMatchObject({ status: 'paused', timeout_sec: 77 });
    for (const answer of [
      await post(id, 'ping'),
      await post(id, 'pause'),
      await post(id, 'exec', { body: { cmd: 'true' } }),
    ]) {
      expect(answer.status).toBe(409);
      expect(answer.body.error.details).toMatchObject({ state: 'paused', since: patched.body.status_since });
      expect(answer.body.error.details.legal_commands).toContain('RESUME');
    }
    await destroy(id);
    expect(await get(id)).toMatchObject({ status: 'stopped', reason: { code: 'destroyed' } });
  });

  test('one that fails to pause runs on and says why', async () => {
    const { id } = await create();
    agent.nextSave = 'fails';
    const answer = await post(id, 'pause');
    expect(answer.status).toBe(502);
    expect(answer.body.error).toMatchObject({ code: 'pause_failed', details: { sandbox_id: id, status: 'running' } });
    expect(await get(id)).toMatchObject({ status: 'running', reason: { code: 'pause_failed' } });
    expect((await post(id, 'pause')).body).toMatchObject({ status: 'paused' });
    await destroy(id);
  });

  test('one that fails to resume stays paused and can be tried again', async () => {
    const { id } = await create();
    await post(id, 'pause');
    agent.nextStart = { code: 'vmm_failed', message: 'QEMU ended at once', retryable: true };
    const answer = await post(id, 'resume');
    expect(answer.status).toBe(502);
    expect(answer.body.error).toMatchObject({ code: 'vm_failed', details: { reason: 'vmm_failed', status: 'paused' } });
    expect(await reserved(id)).toBe(0);
    expect((await post(id, 'resume')).body.status).toBe('running');
    expect(commandsOf(id).slice(-2)).toEqual([
      ['resume', 2],
      ['resume', 3],
    ]);
    await destroy(id);
  });

  test('a damaged snapshot is an error that is kept until it is destroyed', async () => {
    const { id } = await create();
    await post(id, 'pause');
    agent.nextStart = { code: 'snapshot_damaged', message: 'a checksum is wrong', retryable: false };
    const answer = await post(id, 'resume');
    expect(answer).toMatchObject({ status: 500, body: { error: { code: 'snapshot_damaged' } } });
    expect(await get(id)).toMatchObject({ status: 'error', legal_commands: ['DESTROY'] });
    expect(commandsOf(id).at(-1)?.[0]).toBe('resume');
    await destroy(id);
    expect(commandsOf(id).at(-1)?.[0]).toBe('destroy');
  });

  test('a host without room is 503, and it stays paused (I6)', async () => {
    const { id } = await create({ vcpus: 3 });
    await post(id, 'pause');
    const big = await create({ vcpus: 4 });
    const answer = await post(id, 'resume');
    expect(answer.status).toBe(503);
    expect(answer.body.error).toMatchObject({ code: 'no_hosts_available', details: { status: 'paused' } });
    expect(answer.body.error.message).toContain('has no room for 3 vCPUs and 512 MB now');
    expect(answer.body.error.message).toContain(hostId);
    await destroy(big.id);
    expect((await post(id, 'resume')).status).toBe(200);
    await destroy(id);
  });

  test('the same Idempotency-Key gets the first answer, and does it once', async () => {
    const { id } = await create();
    const headers = { 'idempotency-key': 'once' };
    const answers = await Promise.all([post(id, 'pause', { headers }), post(id, 'pause', { headers })]);
    expect(answers.map(({ status }) => status)).toEqual([200, 200]);
    expect((await post(id, 'resume', { headers })).status).toBe(200);
    expect((await post(id, 'pause', { headers })).status).toBe(200); // the answer of then: it runs on
    expect((await get(id)).status).toBe('running');
    expect(commandsOf(id).filter(([name]) => name === 'pause')).toHaveLength(1);
    await destroy(id);
  });

  test('foreign, unknown and malformed ids (ID6)', async () => {
    const { id } = await create();
    for (const verb of ['pause', 'resume', 'fork']) {
      expect((await post(id, verb, { key: other })).status).toBe(404);
      expect((await post(`sb${'0'.repeat(20)}`, verb)).status).toBe(404);
      expect((await post('sb-1', verb)).status).toBe(400);
    }
    await destroy(id);
  });
});

describe('traffic that wakes it', () => {
  test('many at once resume it once, and one that comes while it is being paused waits for both', async () => {
    const { id } = await create({ auto_resume: true });
    await post(id, 'pause');
    await Promise.all(Array.from({ length: 20 }, () => wakeSandbox(plane.services, id)));
    expect((await get(id)).status).toBe('running');
    await wakeSandbox(plane.services, id);
    agent.nextSave = 'held';
    const pausing = post(id, 'pause');
    await expect.poll(async () => (await get(id)).status).toBe('pausing');
    const woken = wakeSandbox(plane.services, id);
    agent.letGo();
    expect((await pausing).status).toBe(200);
    await woken;
    expect((await get(id)).status).toBe('running');
    expect(commandsOf(id).filter(([name]) => name === 'resume')).toHaveLength(2);
    await destroy(id);
    await expect(wakeSandbox(plane.services, id)).rejects.toMatchObject({ code: 'illegal_command' });
  });
});

describe('auto-pause (SN7)', () => {
  test('an idle sandbox is paused, unless the host knows of activity; the trail says so', async () => {
    agent.idleMs = 300;
    const { id } = await create({ timeout_sec: 1 });
    await expect.poll(() => agent.commands.some(({ name }) => name === 'pause if idle'), { timeout: 8_000 }).toBe(true);
    await expect.poll(async () => (await get(id)).status).toBe('running');
    agent.idleMs = Number.POSITIVE_INFINITY;
    await expect.poll(async () => (await get(id)).status, { timeout: 10_000 }).toBe('paused');
    expect((await get(id)).reason.code).toBe('idle_timeout');
    const { rows } = await plane.services.sql.query('select action from audit_logs where resource_id = $1', [id]);
    expect(rows.map(({ action }) => action)).toEqual(expect.arrayContaining(['sandbox.create', 'sandbox.auto_pause']));
    await destroy(id);
  });

  test('ends_at pauses or ends it, as on_end says (SN15)', async () => {
    const soon = () => new Date(Date.now() + 1_500).toISOString();
    const [one, two] = [await create({ ends_at: soon(), on_end: 'pause' }), await create({ ends_at: soon() })];
    await expect.poll(async () => (await get(one.id)).status, { timeout: 10_000 }).toBe('paused');
    await expect.poll(async () => (await get(two.id)).status, { timeout: 10_000 }).toBe('stopped');
    expect((await get(one.id)).reason.code).toBe('lifetime_ended');
    const resumed = await post(one.id, 'resume');
    expect(resumed.body).toMatchObject({ status: 'running', ends_at: null }); // it would end again at once
    await destroy(one.id);
  });
});

describe('a host that gets lost (H4)', () => {
  const tell = (id: string, event: { type: string }) =>
    plane.services.runtime.tell({ kind: 'sandbox', id }, event as never, { cause: { type: 'system' } });

  test('its paused sandboxes stay paused, marked unreachable, until it says that it has them', async () => {
    const [one, two] = [await create(), await create()];
    for (const { id } of [one, two]) {
      await post(id, 'pause');
      await tell(id, { type: 'HOST_LOST', host_id: hostId } as never);
      await expect.poll(async () => (await get(id)).unreachable).toBe(true);
      expect(await get(id)).toMatchObject({ status: 'paused', unreachable: true });
    }
    const facts = { incarnation: 1, status: 'paused', store_id: agent.storeId, cursor: 1_000 };
    await tell(one.id, { type: 'HOST_BACK', host_id: hostId, ...facts } as never);
    await expect.poll(async () => (await get(one.id)).unreachable).toBe(false);
    // Destroyed while its host is away: accepted now, done when it is there.
    expect((await destroy(two.id)).status).toBe(204);
    await expect.poll(async () => (await get(two.id)).status).toBe('stopped');
    await destroy(one.id);
  });
});

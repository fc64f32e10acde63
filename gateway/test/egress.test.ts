import type { SandboxContext } from '@wrenn/actors';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { call } from './gateway.ts';
import type { BareAgent } from './testing/bare-agent.ts';
import { type Fleet, startFleet } from './testing/fleet.ts';

let fleet: Fleet;
let agent: BareAgent;
let key: string;
beforeAll(async () => {
  fleet = await startFleet();
  ({ agent } = await fleet.addHost());
  key = await fleet.newKey();
});
afterAll(async () => {
  await fleet?.close();
});

const EVERYTHING = '0.0.0.0/0';
const create = async (body: unknown = {}) => (await call(fleet, 'POST', '/v1/sandboxes', { key, body })).body;
const patch = (id: string, egress: unknown) => call(fleet, 'PATCH', `/v1/sandboxes/${id}`, { key, body: { egress } });
const open = async () => (await fleet.services.sql.query('select sandbox_id from egress_changes')).rowCount;
/** Until the next try. */
const waitIsOver = () =>
  fleet.services.sql.query(`update egress_changes set noted_at = noted_at - interval '1 minute'`);

describe('NET4: egress policies', () => {
  test('a change is on the host when it is answered, in one spelling, and nothing is left to do', async () => {
    const { id } = await create();
    const asked = { allow: ['API.Example.com.', '*.example.org', '203.0.113.7'], deny: [EVERYTHING] };
    const answer = await patch(id, asked);
    const egress = { allow: ['api.example.com', '*.example.org', '203.0.113.7/32'], deny: [EVERYTHING] };
    expect(answer.status).toBe(200);
    expect(agent.egress.at(-1)).toEqual({ sandboxId: id, ...egress });
    expect(await open()).toBe(0);
  });

  test.each([
    'example',
    '*.com',
    '*',
    'a b.com',
    '-a.com',
    'a..com',
    'http://a.com',
    '300.1.1.1',
    '10.0.0.1/33',
    '2001:db8::1',
  ])('%j is refused', async (entry) => {
    const { status, body } = await call(fleet, 'POST', '/v1/sandboxes', { key, body: { egress: { deny: [entry] } } });
    expect(status).toBe(400);
    expect(body.error.message).toContain('domain name');
  });

  test('what a host did not confirm is told, and repeated until it does; the last change wins', async () => {
    const { id } = await create();
    agent.away = true;
    for (const name of ['one.example.com', 'two.example.com']) {
      expect((await patch(id, { allow: [name], deny: [EVERYTHING] })).status).toBeGreaterThanOrEqual(500);
    }
    expect(await open()).toBe(1);
    agent.away = false;
    await waitIsOver(); // nobody asks again
    await expect.poll(open, { timeout: 30_000 }).toBe(0);
    const told = agent.egress.filter(({ sandboxId }) => sandboxId === id);
    expect(told).toEqual([{ sandboxId: id, allow: ['two.example.com'], deny: [EVERYTHING] }]);
  });

  test('changed while it is being paused, it is looked at again when that has ended', async () => {
    const { id } = await create();
    agent.nextSave = 'held';
    const pause = call(fleet, 'POST', `/v1/sandboxes/${id}/pause`, { key });
    await expect
      .poll(async () => (await call(fleet, 'GET', `/v1/sandboxes/${id}`, { key })).body.status)
      .toBe('pausing');
    expect((await patch(id, { deny: [EVERYTHING] })).status).toBe(200);
    expect(await open()).toBe(1);
    agent.letGo();
    agent.nextSave = 'done';
    expect((await pause).status).toBe(200);
    await waitIsOver();
    await expect.poll(open, { timeout: 30_000 }).toBe(0);
    expect(agent.egress.filter(({ sandboxId }) => sandboxId === id)).toEqual([]);
  });

  test('of a paused sandbox it comes with the resume: nothing is left to do', async () => {
    const { id } = await create();
    expect((await call(fleet, 'POST', `/v1/sandboxes/${id}/pause`, { key })).status).toBe(200);
    const before = agent.egress.length;
    expect((await patch(id, { allow: ['example.com'], deny: [EVERYTHING] })).status).toBe(200);
    expect(agent.egress.length).toBe(before);
    expect(await open()).toBe(0);
  });

  test("X1: names of E2B's network configuration, at create and while it runs", async () => {
    const e2b = key.replace('wrn_', 'e2b_');
    const network = { allowOut: ['Api.example.com', '8.8.8.8'], denyOut: [EVERYTHING] };
    const made = await call(fleet, 'POST', '/v2/sandboxes', { key: e2b, body: { templateID: 'base', network } });
    expect(made.status).toBe(201);
    const id = made.body.sandboxID;
    const { runtime } = fleet.services;
    const stored = async () =>
      ((await runtime.read({ kind: 'sandbox', id }))?.context as SandboxContext | undefined)?.spec.egress;
    expect(await stored()).toEqual({ allow: ['api.example.com', '8.8.8.8/32'], deny: [EVERYTHING] });

    const put = (body: unknown) => call(fleet, 'PUT', `/sandboxes/${id}/network`, { key: e2b, body });
    expect((await put({ allowOut: ['*.example.org'], allow_internet_access: false })).status).toBe(204);
    const changed = { allow: ['*.example.org'], deny: [EVERYTHING] };
    expect(await stored()).toEqual(changed);
    expect(agent.egress.at(-1)).toEqual({ sandboxId: id, ...changed });
    expect((await put({ allowOut: ['*.example.org'] })).body).toMatchObject({ code: 400 });
    expect(await stored()).toEqual(changed);
  });
});

import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { call } from './gateway.ts';
import type { BareAgent } from './testing/bare-agent.ts';
import { type Fleet, startFleet } from './testing/fleet.ts';

/** E2B's API as its SDKs speak it (X1), over hosts that have no VMs. The SDKs' own suite runs in e2e/e2b. */
let fleet: Fleet;
let agent: BareAgent;
let key: string;

beforeAll(async () => {
  fleet = await startFleet({ WRENN_DOMAIN: 'wrenn.test:8443' });
  ({ agent } = await fleet.addHost({ vcpus: 64, memoryMb: 262_144 }));
  key = await fleet.newKey();
});
afterAll(() => fleet?.close());

const ask = (method: string, path: string, body?: unknown, headers?: Record<string, string>) =>
  call(fleet, method, path, { key: key.replace('wrn_', 'e2b_'), body, ...(headers && { headers }) });

async function create(body: object = {}, path = '/v2/sandboxes') {
  const answer = await ask('POST', path, { templateID: 'base', ...body });
  expect(answer.status, JSON.stringify(answer.body)).toBe(201);
  return answer.body as { sandboxID: string; [name: string]: unknown };
}
const detail = async (id: string) => (await ask('GET', `/sandboxes/${id}`)).body;
const secondsLeft = (info: { endAt: string }) => (Date.parse(info.endAt) - Date.now()) / 1_000;

describe('create', () => {
  test('a bare body of the newest SDK; what a client needs is answered', async () => {
    const made = await create();
    expect(made).toEqual({
      sandboxID: expect.stringMatching(/^sb[a-z0-9]{20}$/),
      templateID: 'minimal',
      alias: 'base',
      clientID: expect.any(String),
      envdVersion: '0.6.13',
      envdAccessToken: expect.any(String),
      trafficAccessToken: null,
      domain: 'wrenn.test:8443',
    });
    const info = await detail(made.sandboxID);
    expect(info).toMatchObject({
      state: 'running',
      cpuCount: 1,
      memoryMB: 512,
      metadata: {},
      allowInternetAccess: null,
      lifecycle: { onTimeout: 'kill', autoResume: false },
      network: { allowPublicTraffic: true },
    });
    expect(secondsLeft(info)).toBeGreaterThan(290);
    expect(secondsLeft(info)).toBeLessThanOrEqual(300);
  });

  test('the older version, with fields that are not known passed over', async () => {
    const { sandboxID } = await create({ secure: true, mcp: {}, somethingNew: 1 }, '/sandboxes');
    expect(secondsLeft(await detail(sandboxID))).toBeLessThanOrEqual(15);
  });

  test('the domain is the one by which the client came', async () => {
    const answer = await ask(
      'POST',
      '/v2/sandboxes',
      { templateID: 'base' },
      { 'x-forwarded-host': 'api.mine.test:1234' },
    );
    expect(answer.body.domain).toBe('mine.test:1234');
  });

  test('a private sandbox answers its traffic token; its ports are closed to others', async () => {
    const made = await create({
      network: { allowPublicTraffic: false },
      autoPause: true,
      autoResume: { enabled: true },
    });
    const { body } = await call(fleet, 'GET', `/v1/sandboxes/${made.sandboxID}`, { key });
    expect(made.trafficAccessToken).toBe(body.traffic_token);
    expect(body).toMatchObject({ public_ports: [], auto_resume: true, on_end: 'pause' });
    expect((await detail(made.sandboxID)).lifecycle).toEqual({ onTimeout: 'pause', autoResume: true });
  });

  test.each([
    [{ templateID: 'nothing' }, 404],
    [{}, 400],
    [{ templateID: 'base', timeout: 0 }, 400],
    [{ templateID: 'base', timeout: 86_401 }, 400],
    [{ templateID: 'base', timeout: 'x' }, 400],
    [{ templateID: 'base', autoPauseMemory: false }, 400],
    [{ templateID: 'base', autoPause: true, autoPauseMemory: false }, 501],
    [{ templateID: 'base', network: { denyOut: ['300.1.1.1'] } }, 400],
    [{ templateID: 'base', network: { allowOut: ['example.com'] } }, 400],
    [{ templateID: 'base', network: { denyOut: ['example..com'] } }, 400],
    [{ templateID: 'base', network: { rules: { 'example.com': [] } } }, 501],
    [{ templateID: 'base', volumeMounts: [{ name: 'a', path: '/a' }] }, 501],
  ])('%j is %i, with the number in the body', async (body, status) => {
    const answer = await ask('POST', '/v2/sandboxes', body);
    expect(answer).toMatchObject({ status, body: { code: status, message: expect.any(String) } });
  });
});

describe('one sandbox', () => {
  test('the time left can be set, longer and shorter; connect only prolongs', async () => {
    const { sandboxID: id } = await create();
    expect((await ask('POST', `/sandboxes/${id}/timeout`, { timeout: 600 })).status).toBe(204);
    expect(secondsLeft(await detail(id))).toBeGreaterThan(590);
    expect((await ask('POST', `/v2/sandboxes/${id}/connect`, { timeout: 10 })).status).toBe(200);
    expect(secondsLeft(await detail(id))).toBeGreaterThan(590);
    const longer = await ask('POST', `/sandboxes/${id}/connect`, { timeout: 1_200 });
    expect(longer).toMatchObject({ status: 200, body: { sandboxID: id } });
    expect(secondsLeft(await detail(id))).toBeGreaterThan(1_190);
    expect((await ask('POST', `/sandboxes/${id}/timeout`, { timeout: 60 })).status).toBe(204);
    expect(secondsLeft(await detail(id))).toBeLessThanOrEqual(60);
  });

  test('its life ends by itself (SN15)', async () => {
    const { sandboxID: id } = await create({ timeout: 1 });
    await expect.poll(async () => (await ask('GET', `/sandboxes/${id}`)).status, { timeout: 10_000 }).toBe(404);
  });

  test('killed once: then it is unknown, for every verb', async () => {
    const { sandboxID: id } = await create();
    expect((await ask('DELETE', `/sandboxes/${id}`)).status).toBe(204);
    for (const [method, path, body] of [
      ['DELETE', ''],
      ['GET', ''],
      ['POST', '/timeout', { timeout: 1 }],
      ['POST', '/connect', { timeout: 1 }],
      ['POST', '/pause'],
      ['GET', '/metrics'],
      ['PUT', '/network', {}],
      ['POST', '/fork', {}],
      ['POST', '/snapshots', {}],
    ] as const) {
      expect(await ask(method, `/sandboxes/${id}${path}`, body), `${method} ${path}`).toMatchObject({
        status: 404,
        body: { code: 404 },
      });
    }
  });

  test('ids that cannot be, foreign ones and no key at all', async () => {
    expect((await ask('DELETE', '/sandboxes/nonexistingsandbox')).body.code).toBe(404);
    const { sandboxID: id } = await create();
    const other = await fleet.newKey();
    expect((await call(fleet, 'GET', `/sandboxes/${id}`, { key: other })).body.code).toBe(404);
    expect((await call(fleet, 'GET', `/sandboxes/${id}`)).body).toMatchObject({ code: 401 });
  });

  test('pause, connect, and the legacy resume', async () => {
    const { sandboxID: id } = await create();
    expect((await ask('POST', `/sandboxes/${id}/pause`, { memory: false })).body.code).toBe(501);
    expect((await ask('POST', `/sandboxes/${id}/pause`)).status).toBe(204);
    expect((await detail(id)).state).toBe('paused');
    expect((await ask('POST', `/sandboxes/${id}/pause`)).body.code).toBe(409);
    expect((await ask('POST', `/v2/sandboxes/${id}/connect`, { timeout: 100 })).status).toBe(201);
    const info = await detail(id);
    expect(info.state).toBe('running');
    expect(secondsLeft(info)).toBeLessThanOrEqual(100);
    expect((await ask('POST', `/sandboxes/${id}/resume`, { timeout: 10 })).body.code).toBe(409);
    await ask('POST', `/sandboxes/${id}/pause`);
    expect((await ask('POST', `/sandboxes/${id}/resume`, { timeout: 10 })).status).toBe(201);
  });
});

describe('lists', () => {
  test('by metadata of any text, state, template, order and time, page by page', async () => {
    const metadata = { 'a b': 'c&d=%é', run: String(Math.random()) };
    const first = await create({ metadata });
    const second = await create({ metadata });
    const form = Object.entries(metadata)
      .map(
        ([name, value]) =>
          `${encodeURIComponent(encodeURIComponent(name))}=${encodeURIComponent(encodeURIComponent(value))}`,
      )
      .join('&');
    const list = (more = '') => ask('GET', `/v2/sandboxes?metadata=${encodeURIComponent(form)}${more}`);
    const ids = (answer: { body: { sandboxID: string }[] }) => answer.body.map(({ sandboxID }) => sandboxID);

    const all = await list();
    expect(ids(all)).toEqual([second.sandboxID, first.sandboxID]);
    expect(all.body[0].metadata).toEqual(metadata);
    expect(all.headers.get('x-next-token')).toBeNull();
    expect(Number(all.headers.get('x-total-running'))).toBeGreaterThanOrEqual(2);
    expect(ids(await list('&order=asc'))).toEqual([first.sandboxID, second.sandboxID]);

    const page = await list('&limit=1');
    expect(ids(page)).toEqual([second.sandboxID]);
    const next = await list(`&limit=1&nextToken=${page.headers.get('x-next-token')}`);
    expect(ids(next)).toEqual([first.sandboxID]);
    expect(next.headers.get('x-next-token')).toBeNull();

    await ask('POST', `/sandboxes/${first.sandboxID}/pause`);
    expect(ids(await list('&state=paused'))).toEqual([first.sandboxID]);
    expect(ids(await list('&state=running,paused'))).toHaveLength(2);
    expect(ids(await list('&state=running'))).toEqual([second.sandboxID]);
    for (const template of ['base', 'minimal']) expect(ids(await list(`&template=${template}`))).toHaveLength(2);
    expect(ids(await list('&template=other'))).toEqual([]);
    expect(ids(await list(`&startedAfter=${new Date(Date.now() + 60_000).toISOString()}`))).toEqual([]);
    for (const wrong of ['&state=dead', '&limit=0', '&nextToken=x', '&order=up']) {
      expect((await list(wrong)).body.code, wrong).toBe(400);
    }
    expect(ids(await ask('GET', `/sandboxes?metadata=${encodeURIComponent(form)}`))).toEqual([second.sandboxID]);
  });
});

describe('snapshots and forks', () => {
  test('a child that finds no room is an error with the code of its kind', async () => {
    const { sandboxID } = (await ask('POST', '/v2/sandboxes', { templateID: 'base' })).body;
    agent.nextStart = 'no_slots';
    const [child] = (await ask('POST', `/sandboxes/${sandboxID}/fork`, {})).body;
    expect(child.error).toMatchObject({ code: 503, error_code: 'sandbox_capacity_unavailable' });
    expect((await ask('DELETE', `/sandboxes/${sandboxID}`)).status).toBe(204);
  });

  test('are named by the rules of our own API, which can delete them', async () => {
    const { sandboxID } = (await ask('POST', '/v2/sandboxes', { templateID: 'base' })).body;
    const snapshot = (name: string) => ask('POST', `/sandboxes/${sandboxID}/snapshots`, { name });
    for (const wrong of ['Bad name!', 'team/name', 'name:tag', '..', 'x\u0000y', '']) {
      expect((await snapshot(wrong)).body.code, wrong).toBe(400);
    }
    const { status, body } = await snapshot('Kept.1');
    expect([status, body.names]).toEqual([201, ['kept.1']]);
    expect((await ask('DELETE', '/v1/snapshots/kept.1')).status).toBe(204);
    expect((await ask('DELETE', `/sandboxes/${sandboxID}`)).status).toBe(204);
  });
});

describe('what is not here', () => {
  test.each([
    ['POST', '/v3/templates'],
    ['GET', '/templates/tpl/files/abc'],
    ['POST', '/v2/templates/tpl/builds/bld'],
    ['GET', '/templates/tpl/builds/bld/status'],
    ['POST', '/templates/tags'],
    ['POST', '/volumes'],
    ['GET', '/volumes/x'],
    ['GET', '/secrets'],
    ['DELETE', '/secrets/x'],
  ])('%s %s says so', async (method, path) => {
    const answer = await ask(method, path, method === 'POST' ? { name: 'x' } : undefined);
    expect(answer).toMatchObject({ status: 501, body: { code: 501 } });
    expect(answer.body.message).toMatch(/not supported/);
  });

  test('names of templates are known', async () => {
    expect(await ask('GET', '/templates/aliases/base')).toMatchObject({ status: 200, body: { public: true } });
    expect((await ask('GET', '/templates/aliases/nothing')).body.code).toBe(404);
    expect((await ask('DELETE', '/templates/nothing')).body.code).toBe(404);
    expect((await ask('DELETE', '/templates/base')).body.code).toBe(403);
    expect(await ask('GET', '/snapshots')).toMatchObject({ status: 200, body: [] });
  });
});

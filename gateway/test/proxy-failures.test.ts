import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest';
import { call } from './gateway.ts';
import { GuestSite } from './testing/guest-site.ts';

let site: GuestSite;
beforeAll(async () => {
  site = await GuestSite.start('127.0.77.9');
});
afterAll(() => site?.close());
beforeEach(() => site.sayHello());

describe('PX3: failures name the state', () => {
  test('a closed port is 502; a browser gets a page', async () => {
    const { id } = await site.create({ public_ports: 'all' });
    const closed = await site.ask(site.hostOf(id, 9));
    expect(closed).toMatchObject({ status: 502 });
    expect(closed.json.error).toMatchObject({ code: 'guest_error', details: { state: 'running', port: 9 } });
    const page = await site.ask(site.hostOf(id, 9), '/', { headers: { accept: 'text/html,*/*' } });
    expect(page.headers['content-type']).toContain('text/html');
    expect(page.text).toContain('nothing answers on port 9');
  });

  test.each([
    ['0-sb0f3k9v2m7q1x8w5z4c6t', 400],
    ['65536-sb0f3k9v2m7q1x8w5z4c6t', 400],
    ['3000-nonsense', 400],
    ['3000-sb0f3k9v2m7q1x8w5z4c6t', 404],
  ])('%s is %i', async (label, status) => {
    expect((await site.ask(`${label}.localhost`)).status).toBe(status);
  });

  test('after a destroy it is never there again, not even for a moment', async () => {
    const { id } = await site.create({ public_ports: 'all' });
    expect((await site.ask(site.hostOf(id))).status).toBe(200);
    expect((await call(site.fleet, 'DELETE', `/v1/sandboxes/${id}`, { key: site.key })).status).toBe(204);
    const answer = await site.ask(site.hostOf(id));
    expect(answer.status).toBe(404);
  });

  test('a host that is away is 503', async () => {
    const { id } = await site.create({ public_ports: 'all' });
    const { services } = site.fleet;
    await services.sql.query(`update hosts set address = '127.0.0.1:1'`);
    const { rows } = await services.sql.query<{ id: string }>('select id from hosts');
    await services.agents.refresh(rows[0]?.id ?? '');
    const answer = await site.ask(site.hostOf(id));
    expect(answer).toMatchObject({ status: 503 });
    expect(answer.json.error).toMatchObject({ code: 'host_unreachable', details: { state: 'missing' } });
    await services.sql.query('update hosts set address = $1', [site.agentAddress]);
    await services.agents.refresh(rows[0]?.id ?? '');
    expect((await site.ask(site.hostOf(id))).status).toBe(200);
  });

  test('X1: the guest sees the host name that its sandbox was made with', async () => {
    const made = await call(site.fleet, 'POST', '/v2/sandboxes', {
      key: site.key,
      // biome-ignore lint/suspicious/noTemplateCurlyInString: that is how the client writes the port
      body: { templateID: 'base', network: { maskRequestHost: 'custom.example.com:${PORT}' } },
    });
    expect(made.status, JSON.stringify(made.body)).toBe(201);
    let seen: readonly string[] = [];
    site.serve = ({ rawHeaders }, response) => {
      seen = rawHeaders;
      response.end();
    };
    const host = site.hostOf(made.body.sandboxID);
    expect((await site.ask(host)).status).toBe(200);
    expect(seen.slice(0, 2)).toEqual(['Host', `custom.example.com:${site.port}`]);
    expect(seen[seen.indexOf('X-Forwarded-Host') + 1]).toBe(host);
  });

  test('E2B errors where its headers route', async () => {
    const { id } = await site.create({ public_ports: 'all' });
    const route = (sandboxId: string, at: number) => ({
      'e2b-sandbox-id': sandboxId,
      'e2b-sandbox-port': String(at),
    });
    expect((await site.ask('127.0.0.1', '/', { headers: route(id, site.port) })).text).toBe('hello');
    const closed = await site.ask('localhost', '/', { headers: route(id, 9) });
    expect(closed).toMatchObject({ status: 502 });
    expect(closed.json).toEqual({
      sandboxId: id,
      message: 'The sandbox is running but port is not open',
      port: 9,
      code: 502,
    });
    const unknown = 'sb0f3k9v2m7q1x8w5z4c6t';
    const gone = await site.ask('localhost', '/health', { headers: route(unknown, 49_983) });
    expect(gone.json).toEqual({ sandboxId: unknown, message: 'The sandbox was not found', code: 502 });
  });
});

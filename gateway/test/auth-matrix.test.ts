import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { apiRoutes } from '../src/app.ts';
import type { Route, SocketRoute } from '../src/http/route.ts';
import { openSession } from '../src/identity/sessions.ts';
import { call, signUp, startGateway, type TestGateway } from './gateway.ts';

/** Every route × every kind of caller (ID6, as far as there are routes). Ids in paths are well-formed and nobody's. */
let gateway: TestGateway;
let person: Awaited<ReturnType<typeof signUp>>;
let key: string;
let hostToken: string;

beforeAll(async () => {
  gateway = await startGateway();
  const admin = await signUp(gateway); // the first, so that `person` is none
  person = await signUp(gateway);
  const made = await call(gateway, 'POST', '/v1/api-keys', { token: person.token, body: { name: 'matrix' } });
  key = made.body.key;
  const host = await call(gateway, 'POST', '/v1/hosts', { token: admin.token, body: { name: 'matrix' } });
  const specs = {
    vcpus: 1,
    memory_mb: 1,
    disk_mb: 1,
    arch: 'x',
    vmm: 'x',
    vmm_version: '',
    agent_version: '1',
    store: 'x',
  };
  const registered = await call(gateway, 'POST', '/v1/hosts/register', {
    body: { token: host.body.registration_token, address: '127.0.0.1:1', specs },
  });
  hostToken = registered.body.jwt;
});
afterAll(() => gateway.close());

const IDS: Readonly<Record<string, string>> = { '/v1/sandboxes': `sb${'0'.repeat(20)}` };

function pathOf(route: Route | SocketRoute): string {
  const owner = route.path.slice(0, route.path.indexOf('/{'));
  const kind = owner.split('/').at(-1)?.replace('api-keys', 'keys').replace(/s$/, '');
  return route.path.replace(/\{\w+\}/g, IDS[owner] ?? `${kind}-00000000000000000000`);
}

/** A plain GET of a socket route never reaches its authorisation: it is asked for as an upgrade. */
const UPGRADE = {
  connection: 'Upgrade',
  upgrade: 'websocket',
  'sec-websocket-version': '13',
  'sec-websocket-key': 'dGhlIHNhbXBsZSBub25jZQ==',
};

const guarded = apiRoutes.filter(({ auth }) => !auth.includes('-'));
const named = guarded.map((route) => [route.kind === 'http' ? route.method : 'WS', route.path, route] as const);

async function statusFor(route: Route | SocketRoute, credentials: { token?: string; key?: string }) {
  if (route.kind === 'socket') return await upgradeStatus(pathOf(route), credentials);
  const body = route.method === 'GET' || route.method === 'DELETE' ? {} : { body: {} };
  return (await call(gateway, route.method, pathOf(route), { ...credentials, ...body })).status;
}

async function upgradeStatus(path: string, { token, key }: { token?: string; key?: string }): Promise<number> {
  const { request } = await import('node:http');
  return await new Promise((resolve, reject) => {
    const headers = {
      ...UPGRADE,
      ...(token !== undefined && { authorization: `Bearer ${token}` }),
      ...(key !== undefined && { 'x-api-key': key }),
    };
    const asked = request(gateway.url + path, { headers });
    asked.on('response', (response) => {
      response.resume();
      resolve(response.statusCode ?? 0);
    });
    asked.on('upgrade', (_, socket) => {
      socket.destroy();
      resolve(101);
    });
    asked.on('error', reject);
    asked.end();
  });
}

describe.each(named)('%s %s', (_method, _path, route) => {
  test('takes the kinds that it names, and no other', async () => {
    expect(await statusFor(route, {}), 'nobody').toBe(401);
    expect(await statusFor(route, { token: 'rubbish' }), 'a bad token').toBe(401);
    expect(await statusFor(route, { key: `wrn_${'0'.repeat(32)}` }), 'an unknown key').toBe(401);

    const byKey = await statusFor(route, { key });
    if (route.auth.includes('K')) expect([101, 200, 201, 204, 400, 404, 415, 503]).toContain(byKey);
    else expect(byKey, 'a key').toBe(401);

    const { sql, tokens } = gateway.services;
    const { token } = await openSession(sql, tokens, person.userId, person.teamId); // of its own: a route may end it
    const byUser = await statusFor(route, { token });
    if (route.auth.includes('J')) expect([101, 200, 201, 204, 400, 403, 404, 415, 503]).toContain(byUser);
    else if (route.auth.includes('A')) expect(byUser, 'a person who is no admin').toBe(403);
    else expect(byUser, 'a person').toBe(401);

    const byHost = await statusFor(route, { token: hostToken });
    if (route.auth.includes('H')) expect([200, 400, 404]).toContain(byHost);
    else expect(byHost, 'a host').toBe(401);
  });
});

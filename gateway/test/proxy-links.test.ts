import { once } from 'node:events';
import { createServer, type IncomingMessage, request } from 'node:http';
import type { AddressInfo } from 'node:net';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { linkQuery, sign } from '../src/proxy/signed-link.ts';
import { call, signUp } from './gateway.ts';
import { type Fleet, startFleet } from './testing/fleet.ts';

const GUEST_IP = '127.0.77.4';

let fleet: Fleet;
let key: string;
let id: string;
let token: string;
let port: number;
let seen: IncomingMessage | undefined;
const held: (() => void)[] = [];

const app = createServer((incoming, response) => {
  seen = incoming;
  if (incoming.url === '/held') held.push(() => response.end('at last'));
  else response.end(`hello ${incoming.url}`);
});

beforeAll(async () => {
  fleet = await startFleet({ WRENN_PROXY_MAX_OPEN: '3' });
  await fleet.addHost({ guest: { ip: GUEST_IP, accessToken: 'a token' } });
  key = await fleet.newKey();
  app.listen(0, GUEST_IP);
  await once(app, 'listening');
  ({ port } = app.address() as AddressInfo);
  const { body } = await call(fleet, 'POST', '/v1/sandboxes', { key });
  ({ id, traffic_token: token } = body);
});
afterAll(async () => {
  app.closeAllConnections();
  app.close();
  await fleet?.close();
});

async function ask(path: string, headers: Record<string, string> = {}, at = port) {
  const sent = request({
    port: fleet.port,
    path,
    headers: { host: `${at}-${id}.localhost`, ...headers },
    agent: false,
  });
  sent.end();
  const [response] = (await once(sent, 'response')) as [IncomingMessage];
  let text = '';
  for await (const chunk of response) text += chunk;
  return { status: response.statusCode, headers: response.headers, text };
}

const now = () => Math.floor(Date.now() / 1_000);

test('PX1: a link opens its port, hides itself from the guest, and leaves a cookie that opens it too', async () => {
  const made = await call(fleet, 'POST', `/v1/sandboxes/${id}/links`, {
    key,
    body: { port, path: '/a?b=1', expires_in_sec: 60 },
  });
  expect(made.status).toBe(201);
  const url = new URL(made.body.url);
  expect(url.host).toBe(`${port}-${id}.localhost`);
  expect(Date.parse(made.body.expires_at) - Date.now()).toBeGreaterThan(50_000);

  const first = await ask(url.pathname + url.search);
  expect(first).toMatchObject({ status: 200, text: 'hello /a?b=1' });
  const [cookie = ''] = first.headers['set-cookie'] ?? [];
  expect(cookie).toMatch(/^wrenn_access=\d+\.[\w-]+; Path=\/; Max-Age=(59|60); HttpOnly; SameSite=Lax$/);

  const second = await ask('/next', { cookie: `mine=1; ${cookie.split(';', 1)[0]}` });
  expect(second).toMatchObject({ status: 200, text: 'hello /next' });
  expect(seen?.headers.cookie).toBe('mine=1');
  expect(second.headers['set-cookie']).toBeUndefined();
});

test('PX1: a link is for one port of one sandbox, and for its time', async () => {
  const expires = now() + 60;
  const good = sign(token, id, port, expires);
  expect((await ask(`/?${linkQuery({ expires, signature: good })}`)).status).toBe(200);
  for (const [name, grant] of Object.entries({
    expired: { expires: now() - 1, signature: sign(token, id, port, now() - 1) },
    'prolonged by hand': { expires: expires + 1, signature: good },
    'of another port': { expires, signature: sign(token, id, port + 1, expires) },
    'of another sandbox': { expires, signature: sign(token, `sb${'0'.repeat(20)}`, port, expires) },
    'signed by someone else': { expires, signature: sign('no token', id, port, expires) },
    malformed: { expires: Number.NaN, signature: 'x' },
  })) {
    expect((await ask(`/?${linkQuery(grant)}`)).status, name).toBe(403);
    expect((await ask('/', { cookie: `wrenn_access=${grant.expires}.${grant.signature}` })).status, name).toBe(403);
  }
});

test('PX1: links are made by the team alone, and never for the guest agent', async () => {
  const path = `/v1/sandboxes/${id}/links`;
  expect((await call(fleet, 'POST', path, { key: await fleet.newKey(), body: { port } })).status).toBe(404);
  expect((await call(fleet, 'POST', path, { key, body: { port: 49_983 } })).status).toBe(400);
  expect((await call(fleet, 'POST', path, { key, body: { port, expires_in_sec: 604_801 } })).status).toBe(400);
  expect((await call(fleet, 'POST', path, { key, body: { port, path: '//evil\r\nx' } })).status).toBe(400);
});

test('PX1: a revoked key opens nothing any more, soon', async () => {
  const { token: session } = await signUp(fleet);
  const made = await call(fleet, 'POST', '/v1/api-keys', { token: session, body: { name: 'short' } });
  const { body: own } = await call(fleet, 'POST', '/v1/sandboxes', { key: made.body.key });
  const status = async () => {
    const sent = request({
      port: fleet.port,
      headers: { host: `${port}-${own.id}.localhost`, 'x-api-key': made.body.key },
      agent: false,
    });
    sent.end();
    const [response] = (await once(sent, 'response')) as [IncomingMessage];
    response.resume();
    return response.statusCode;
  };
  expect(await status()).toBe(200);
  const { body: keys } = await call(fleet, 'GET', '/v1/api-keys', { token: session });
  expect((await call(fleet, 'DELETE', `/v1/api-keys/${keys.items[0].id}`, { token: session })).status).toBe(204);
  await expect.poll(status, { timeout: 5_000 }).toBe(401);
});

test('PX3: more than a sandbox may have open at once is 429, and only for it', async () => {
  const headers = { 'wrenn-traffic-token': token };
  const open = [1, 2, 3].map(() => ask('/held', headers));
  await expect.poll(() => held.length).toBe(3);
  const refused = await ask('/', headers);
  expect(refused.status).toBe(429);
  expect(refused.headers['retry-after']).toBe('1');
  expect(JSON.parse(refused.text).error).toMatchObject({ code: 'rate_limited', details: { limit: 3 } });
  const { body: other } = await call(fleet, 'POST', '/v1/sandboxes', { key, body: { public_ports: 'all' } });
  const sent = request({ port: fleet.port, headers: { host: `${port}-${other.id}.localhost` }, agent: false });
  sent.end();
  const [response] = (await once(sent, 'response')) as [IncomingMessage];
  response.resume();
  expect(response.statusCode).toBe(200);
  for (const end of held) end();
  expect((await Promise.all(open)).map(({ text }) => text)).toEqual(['at last', 'at last', 'at last']);
  expect((await ask('/', headers)).status).toBe(200);
});

test('PX1, AG3: the guest agent’s port asks for its own token, and its internal routes are nobody’s', async () => {
  const agent = 49_983;
  // Nothing listens there in this test: what gets through is told that the port is closed.
  const reached = 502;
  expect((await ask('/health', {}, agent)).status).toBe(reached);
  expect((await ask('/files?path=a&signature=v1_x', {}, agent)).status).toBe(reached);
  expect((await ask('/process.Process/List', { 'x-access-token': 'a token' }, agent)).status).toBe(reached);
  for (const headers of [{}, { 'x-access-token': 'wrong' }, { 'x-api-key': key }, { 'wrenn-traffic-token': token }]) {
    expect((await ask('/process.Process/List', headers as Record<string, string>, agent)).status).toBe(403);
  }
  for (const path of [
    '/init',
    '//init',
    '/./init',
    '/x/../init',
    '/%69nit',
    '/%2569nit',
    '/wrenn/freeze',
    '/INIT/',
    '/init;a=b',
  ]) {
    expect((await ask(path, { 'x-access-token': 'a token' }, agent)).status, path).toBe(404);
  }
});

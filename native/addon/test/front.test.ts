import { once } from 'node:events';
import { mkdtemp, rm } from 'node:fs/promises';
import http from 'node:http';
import net, { type AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, beforeEach, describe, expect, it, onTestFinished } from 'vitest';
import { type Front, frontListen, routeActivity, routeDelete, routeDrain, routeSet, routeTouch } from '../index.js';

const ENVD_PORT = 49_983;
/** Loopback addresses of our own: each test's sandbox has its own envd port. */
let nextAddress = 20;
const CREDENTIAL = { 'wrenn-authorization': 'Bearer control-plane' };

let front: Front;
let folder: string;
let agent: http.Server;
let sandbox: { id: string; ip: string };

beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'wrenn-front-'));
  agent = http.createServer(async (request, response) => {
    response.setHeader('x-seen', JSON.stringify(request.headers));
    response.setHeader('wrenn-error-code', 'its own');
    for await (const chunk of request) response.write(chunk);
    response.end(`agent ${request.method} ${request.url}`);
  });
  agent.listen(join(folder, 'agent.sock'));
  await once(agent, 'listening');
  front = await frontListen({
    address: '127.0.0.1:0',
    upstream: join(folder, 'agent.sock'),
    identity: { header: 'wrenn-authorization', value: 'Bearer control-plane' },
  });
});
afterAll(async () => {
  front.close();
  agent.closeAllConnections();
  agent.close();
  await rm(folder, { recursive: true });
});
beforeEach(({ task }) => {
  sandbox = { id: `sb-${task.id}`, ip: `127.0.3.${nextAddress++}` };
  route();
  onTestFinished(() => {
    routeDelete(sandbox.id);
  });
});

function route(change: { incarnation?: number; state?: string } = {}) {
  routeSet({
    sandboxId: sandbox.id,
    incarnation: 1,
    guestIp: sandbox.ip,
    accessToken: 'secret',
    state: 'ready',
    ...change,
  });
}

/** A server in the sandbox; port 0 takes a free one. */
async function guestServer(
  port: number,
  handler: http.RequestListener,
): Promise<{ server: http.Server; port: number }> {
  const server = http.createServer(handler);
  server.listen(port, sandbox.ip);
  await once(server, 'listening');
  onTestFinished(() => {
    server.closeAllConnections();
    server.close();
  });
  return { server, port: (server.address() as AddressInfo).port };
}

const call = (
  path: string,
  init: RequestInit & { duplex?: 'half' } = {},
  headers: Record<string, string> = CREDENTIAL,
) => fetch(`http://127.0.0.1:${front.port}${path}`, { ...init, headers: { ...headers, ...init.headers } });

const activity = () => routeActivity().find((each) => each.sandboxId === sandbox.id);

async function until(condition: () => boolean) {
  while (!condition()) await new Promise((resolve) => setTimeout(resolve, 5));
}

async function expectRefusal(answer: Promise<Response>, status: number, code: string) {
  const response = await answer;
  expect([response.status, response.headers.get('wrenn-error-code')]).toEqual([status, code]);
  expect(await response.json()).toMatchObject({ error: { code, message: expect.any(String), details: {} } });
}

describe('/guest (AG1)', () => {
  const guest = (rest = '/health', headers: Record<string, string> = {}) =>
    call(`/guest/${sandbox.id}${rest}`, {}, { ...CREDENTIAL, 'wrenn-incarnation': '1', ...headers });

  it('passes requests on with the access token, and nothing of the control plane', async () => {
    await guestServer(ENVD_PORT, (request, response) => {
      response.setHeader('wrenn-error-code', 'not_found');
      response.end(JSON.stringify({ url: request.url, headers: request.headers }));
    });
    const response = await guest('/files?path=%2Fa%20b', {
      authorization: 'Basic dXNlcjo=',
      'x-access-token': 'guess',
    });
    expect(response.headers.get('wrenn-error-code')).toBeNull();
    const seen = (await response.json()) as { url: string; headers: Record<string, string> };
    expect(seen.url).toBe('/files?path=%2Fa%20b');
    expect(seen.headers).toMatchObject({
      'x-access-token': 'secret',
      authorization: 'Basic dXNlcjo=',
      host: `${sandbox.ip}:${ENVD_PORT}`,
    });
    expect(Object.keys(seen.headers)).not.toContain('wrenn-authorization');
    expect(Object.keys(seen.headers)).not.toContain('wrenn-incarnation');
  });

  it('serves the control plane only, the right incarnation only, and only while it is ready', async () => {
    await expectRefusal(call(`/guest/${sandbox.id}/health`, {}, {}), 401, 'unauthorized');
    await expectRefusal(guest('/health', { 'wrenn-authorization': 'Bearer control-planf' }), 401, 'unauthorized');
    await expectRefusal(call('/guest/sbunknown/health'), 404, 'not_found');
    await expectRefusal(guest('/health', { 'wrenn-incarnation': '2' }), 409, 'stale_incarnation');
    await expectRefusal(call(`/guest/${sandbox.id}/health`), 409, 'stale_incarnation');
    await expectRefusal(guest(), 502, 'guest_error');
    route({ state: 'releasing' });
    await expectRefusal(guest(), 409, 'not_running');
  });
});

describe('/proxy (AG3)', () => {
  it('keeps path, slash and query, host and body', async () => {
    const { port } = await guestServer(0, async (request, response) => {
      let body = '';
      for await (const chunk of request) body += chunk;
      response.end(JSON.stringify([request.method, request.url, request.headers.host, body]));
    });
    const base = `/proxy/${sandbox.id}/${port}`;
    for (const [rest, url] of [
      ['', '/'],
      ['/', '/'],
      ['/a/', '/a/'],
      ['/a//b?x=1&x=%2F', '/a//b?x=1&x=%2F'],
      ['?q', '/?q'],
    ]) {
      const response = await call(`${base}${rest}`, { method: 'POST', body: 'hello' });
      expect(await response.json()).toEqual(['POST', url, `127.0.0.1:${front.port}`, 'hello']);
    }
  });

  it('refuses with a status that says why', async () => {
    for (const port of ['0', '65536', 'http', ''])
      await expectRefusal(call(`/proxy/${sandbox.id}/${port}`), 400, 'bad_request');
    await expectRefusal(call('/proxy/sbunknown/80/'), 503, 'not_found');
    await expectRefusal(call(`/proxy/${sandbox.id}/1/`), 502, 'guest_error');
    await expectRefusal(call(`/proxy/${sandbox.id}/80/`, {}, {}), 401, 'unauthorized');
    route({ state: 'booting' });
    await expectRefusal(call(`/proxy/${sandbox.id}/80/`), 503, 'not_running');
  });

  it('opens the port of envd only with its token', async () => {
    await guestServer(ENVD_PORT, (_, response) => response.end('envd'));
    const path = `/proxy/${sandbox.id}/${ENVD_PORT}/metrics`;
    await expectRefusal(call(path), 403, 'forbidden');
    await expectRefusal(call(path, { headers: { 'x-access-token': 'secre' } }), 403, 'forbidden');
    expect(await (await call(path, { headers: { 'x-access-token': 'secret' } })).text()).toBe('envd');
  });

  it('streams both ways at once, and uses connections again', async () => {
    const sockets = new Set<net.Socket>();
    const { port, server } = await guestServer(0, (request, response) => {
      request.on('data', (chunk) => response.write(chunk));
      request.on('end', () => response.end());
    });
    server.on('connection', (socket) => sockets.add(socket));
    const { readable, writable } = new TransformStream<Uint8Array, Uint8Array>();
    const answer = call(`/proxy/${sandbox.id}/${port}/`, { method: 'POST', body: readable, duplex: 'half' });
    const writer = writable.getWriter();
    void writer.write(new TextEncoder().encode('one'));
    const reader = (await answer).body?.getReader();
    expect(new TextDecoder().decode((await reader?.read())?.value)).toBe('one');
    expect(activity()?.openStreams).toBe(1);
    void writer.write(new TextEncoder().encode('two'));
    expect(new TextDecoder().decode((await reader?.read())?.value)).toBe('two');
    await writer.close();
    expect((await reader?.read())?.done).toBe(true);
    for (let count = 0; count < 5; count++)
      await (await call(`/proxy/${sandbox.id}/${port}/`, { method: 'POST', body: 'x' })).text();
    // One may be opened while the first is still on its way back to the pool.
    expect(sockets.size).toBeLessThanOrEqual(2);
    await until(() => activity()?.openStreams === 0);
  });

  it('holds an upload back where the guest does not read', async () => {
    const { port, server } = await guestServer(0, () => {});
    const paused = once(server, 'request');
    const client = net.connect(front.port, '127.0.0.1');
    onTestFinished(() => void client.destroy());
    client.write(
      `POST /proxy/${sandbox.id}/${port}/ HTTP/1.1\r\nHost: x\r\nwrenn-authorization: Bearer control-plane\r\n`,
    );
    client.write('Content-Length: 1000000000\r\n\r\n');
    await paused;
    let sent = 0;
    const chunk = Buffer.alloc(1 << 20);
    for (let count = 0; count < 200; count++) {
      const flushed = new Promise<boolean>((resolve) => client.write(chunk, () => resolve(true)));
      if (!(await Promise.race([flushed, new Promise<boolean>((resolve) => setTimeout(resolve, 300, false))]))) break;
      sent += chunk.length;
    }
    expect(sent).toBeLessThan(60 << 20);
    const seen = activity()?.bytesIn;
    expect(seen).toBeGreaterThan(0);
  });

  it('carries an upgraded connection as bytes', async () => {
    const { port, server } = await guestServer(0, (_, response) => response.end());
    server.on('upgrade', (request, socket) => {
      expect(request.url).toBe('/chat');
      socket.write(
        'HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: x\r\n\r\n',
      );
      socket.on('data', (data: Buffer) => socket.write(data.toString().toUpperCase()));
      socket.on('error', () => {});
    });
    const client = net.connect(front.port, '127.0.0.1');
    client.on('error', () => {});
    client.write(
      `GET /proxy/${sandbox.id}/${port}/chat HTTP/1.1\r\nHost: x\r\nwrenn-authorization: Bearer control-plane\r\n` +
        'Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Key: y\r\n\r\n',
    );
    const head = String((await once(client, 'data'))[0]);
    expect(head).toMatch(/^HTTP\/1.1 101 /);
    expect(head.toLowerCase()).toContain('upgrade: websocket');
    for (const word of ['hello', 'again']) {
      client.write(word);
      expect(String((await once(client, 'data'))[0])).toBe(word.toUpperCase());
    }
    expect(activity()?.openStreams).toBe(1);
    const ended = once(client, 'close');
    routeDelete(sandbox.id);
    await ended;
  });

  it('breaks an answer off, visibly, when the sandbox goes', async () => {
    const { port } = await guestServer(0, (_, response) => void response.write('begun')); // no length, no end
    const reader = (await call(`/proxy/${sandbox.id}/${port}/`)).body?.getReader();
    expect(new TextDecoder().decode((await reader?.read())?.value)).toBe('begun');
    expect(routeDelete(sandbox.id)).toBe(true);
    await expect(reader?.read()).rejects.toThrow();
    expect(routeDelete(sandbox.id)).toBe(false);
  });

  it('resets the earlier incarnation when there is a new one', async () => {
    const { port } = await guestServer(0, (_, response) => void response.write('begun'));
    const reader = (await call(`/proxy/${sandbox.id}/${port}/`)).body?.getReader();
    await reader?.read();
    route({ state: 'ready' });
    expect(activity()?.openStreams).toBe(1);
    route({ incarnation: 2 });
    await expect(reader?.read()).rejects.toThrow();
    await expectRefusal(
      call(`/proxy/${sandbox.id}/${port}/`, { headers: { 'wrenn-incarnation': '1' } }),
      409,
      'stale_incarnation',
    );
  });

  it('knows the time of the last activity (SN7, SN8)', async () => {
    const { port } = await guestServer(0, (_, response) => response.end('x'));
    await new Promise((resolve) => setTimeout(resolve, 60));
    expect(activity()?.lastActiveMsAgo).toBeGreaterThan(50);
    await (await call(`/proxy/${sandbox.id}/${port}/`)).text();
    await until(() => activity()?.openStreams === 0);
    expect(activity()?.lastActiveMsAgo).toBeLessThan(50);
    await new Promise((resolve) => setTimeout(resolve, 60));
    expect(routeTouch(sandbox.id)).toBe(true);
    expect(activity()?.lastActiveMsAgo).toBeLessThan(50);
  });
});

describe('everything else', () => {
  it('goes to the agent’s service, credential and all', async () => {
    const response = await call('/hostagent.v1.HostAgentService/Ping?x=1', { method: 'POST', body: 'body ' });
    expect(await response.text()).toBe('body agent POST /hostagent.v1.HostAgentService/Ping?x=1');
    expect(JSON.parse(response.headers.get('x-seen') ?? '')).toMatchObject(CREDENTIAL);
    expect(response.headers.get('wrenn-error-code')).toBe('its own');
  });

  it('is 503 while the service is away', async () => {
    const lonely = await frontListen({ address: '127.0.0.1:0', upstream: join(folder, 'none.sock'), identity: null });
    const answer = fetch(`http://127.0.0.1:${lonely.port}/health`);
    await expectRefusal(answer, 503, 'unavailable');
    await expect(
      frontListen({ address: `127.0.0.1:${lonely.port}`, upstream: 'x', identity: null }),
    ).rejects.toMatchObject({
      code: 'listen_failed',
    });
    lonely.close();
    await expect(fetch(`http://127.0.0.1:${lonely.port}/health`)).rejects.toThrow();
  });
});

describe('drain before a pause', () => {
  const proxied = (port: number) => call(`/proxy/${sandbox.id}/${port}/`);

  it('lets what is under way end and nothing new in', async () => {
    let answer: (() => void) | null = null;
    const { port } = await guestServer(0, (_, response) => {
      answer = () => {
        answer = null;
        response.end('done');
      };
    });
    const asked = async () => {
      await until(() => answer !== null);
      return answer as unknown as () => void;
    };
    const open = proxied(port);
    const end = await asked();
    expect(activity()?.openStreams).toBe(1);
    const drained = routeDrain(sandbox.id, 10_000);
    await expectRefusal(proxied(port), 503, 'not_running');
    end();
    expect(await (await open).text()).toBe('done');
    expect(await drained).toBe(true);
    expect(activity()).toBeUndefined();
    route();
    const again = proxied(port);
    (await asked())();
    expect((await again).status).toBe(200);
  });

  it('waits no longer than it may: what goes on is reset', async () => {
    const { port } = await guestServer(0, (_, response) => {
      response.write('begun');
    });
    const open = await proxied(port);
    expect(await routeDrain(sandbox.id, 50)).toBe(false);
    await expect(open.text()).rejects.toThrow();
  });

  it('is at once where nothing is open, or there is no route', async () => {
    expect(await routeDrain(sandbox.id, 10_000)).toBe(true);
    expect(await routeDrain(sandbox.id, 10_000)).toBe(true);
  });
});

describe("the guest agent's port (AG3)", () => {
  it('is open without the token for what envd decides itself, and for nothing else', async () => {
    await guestServer(ENVD_PORT, (request, response) => response.end(`${request.method} ${request.url}`));
    const ask = (method: string, rest: string) => call(`/proxy/${sandbox.id}/${ENVD_PORT}${rest}`, { method });
    for (const [method, rest] of [
      ['GET', '/health'],
      ['GET', '/files?path=a&signature=v1_x'],
      ['POST', '/files?path=a&signature=v1_x'],
      ['OPTIONS', '/process.Process/Start'],
    ] as const) {
      expect(await (await ask(method, rest)).text(), rest).toBe(`${method} ${rest}`);
    }
    for (const [method, rest] of [
      ['GET', '/metrics'],
      ['GET', '/files/x'],
      ['DELETE', '/files'],
      ['POST', '/health'],
      ['POST', '/init'],
    ] as const) {
      await expectRefusal(ask(method, rest), 403, 'forbidden');
    }
  });
});

import { once } from 'node:events';
import { createServer, type IncomingMessage } from 'node:http';
import type { AddressInfo, Socket } from 'node:net';
import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest';
import WebSocket, { WebSocketServer } from 'ws';
import { call } from './gateway.ts';
import { type Fleet, startFleet } from './testing/fleet.ts';

/** The guest is an address of this machine: what listens there is in the sandbox. The agent's front is the real one. */
const GUEST_IP = '127.0.77.2';

let fleet: Fleet;
let key: string;
let id: string;
let port: number;
let server: WebSocketServer;
/** What the guest does with a socket. */
let serve: (socket: WebSocket, request: IncomingMessage) => void;
/** What the guest answers to a request for an upgrade, instead of one. */
let refuse: ((socket: Socket) => void) | null;
let protocolOf: (offered: Set<string>) => string | false;

const http = createServer();

beforeAll(async () => {
  fleet = await startFleet();
  await fleet.addHost({ guest: { ip: GUEST_IP, accessToken: 'a token' } });
  key = await fleet.newKey();
  server = new WebSocketServer({
    noServer: true,
    maxPayload: 64_000_000,
    handleProtocols: (offered) => protocolOf(offered),
  });
  server.on('headers', (headers) => headers.push('Set-Cookie: session=1'));
  http.on('upgrade', (request, socket: Socket, head) => {
    if (refuse) refuse(socket);
    else server.handleUpgrade(request, socket, head, (opened) => serve(opened, request));
  });
  http.listen(0, GUEST_IP);
  await once(http, 'listening');
  ({ port } = http.address() as AddressInfo);
  const answer = await call(fleet, 'POST', '/v1/sandboxes', { key, body: { public_ports: [port] } });
  id = answer.body.id;
});
afterAll(async () => {
  for (const client of server?.clients ?? []) client.terminate();
  http.closeAllConnections();
  http.close();
  await fleet?.close();
});
beforeEach(() => {
  refuse = null;
  protocolOf = (offered) => [...offered][0] ?? false;
  serve = (socket) => socket.on('message', (data, isBinary) => socket.send(data, { binary: isBinary }));
});

function dial(
  options: { path?: string; protocols?: string[]; headers?: Record<string, string>; at?: number } = {},
): WebSocket {
  const { path = '/', protocols = [], headers = {}, at = port } = options;
  return new WebSocket(`ws://127.0.0.1:${fleet.port}${path}`, protocols, {
    headers: { host: `${at}-${id}.localhost`, ...headers },
    perMessageDeflate: true, // offered, and not taken
  });
}

async function opened(options: Parameters<typeof dial>[0] = {}): Promise<WebSocket> {
  const socket = dial(options);
  await once(socket, 'open');
  return socket;
}

/** Status and body of a refused upgrade. */
async function refused(socket: WebSocket): Promise<{ status: number; text: string }> {
  const [, response] = (await once(socket, 'unexpected-response')) as [unknown, IncomingMessage];
  let text = '';
  for await (const chunk of response) text += chunk;
  return { status: response.statusCode ?? 0, text };
}

async function next(socket: WebSocket): Promise<{ data: Buffer; isBinary: boolean }> {
  const [data, isBinary] = await once(socket, 'message');
  return { data: data as Buffer, isBinary: isBinary as boolean };
}

describe('PX2: WebSockets', () => {
  test('path, origin, subprotocol and cookies go through; extensions do not', async () => {
    let seen: IncomingMessage | undefined;
    serve = (_, request) => {
      seen = request;
    };
    protocolOf = (offered) => (offered.has('v2.b') ? 'v2.b' : false);
    const socket = dial({
      path: '/api/kernels/1/channels?a=1',
      protocols: ['v1.a', 'v2.b'],
      headers: { origin: 'https://a.example' },
    });
    const [[response]] = (await Promise.all([once(socket, 'upgrade'), once(socket, 'open')])) as [
      [IncomingMessage],
      unknown,
    ];
    expect(socket.protocol).toBe('v2.b');
    expect(socket.extensions).toBe('');
    expect(response.headers['set-cookie']).toEqual(['session=1']);
    expect(seen?.url).toBe('/api/kernels/1/channels?a=1');
    expect(seen?.headers).toMatchObject({
      origin: 'https://a.example',
      'sec-websocket-protocol': 'v1.a,v2.b',
      'x-forwarded-proto': 'http',
    });
    expect(seen?.headers['sec-websocket-extensions']).toBeUndefined();
    socket.close();
  });

  test('paths of our own API are the sandbox’s on its host names', async () => {
    serve = (socket, request) => socket.send(request.url ?? '');
    const socket = dial({ path: `/v1/sandboxes/${id}/pty` });
    expect(String((await next(socket)).data)).toBe(`/v1/sandboxes/${id}/pty`);
    socket.close();
  });

  test('what the guest says first is not lost', async () => {
    serve = (socket) => {
      socket.send('one');
      socket.send('two');
    };
    const socket = dial();
    const seen: string[] = [];
    await new Promise<void>((resolve) => {
      socket.on('message', (data) => {
        if (seen.push(String(data)) === 2) resolve();
      });
    });
    expect(seen).toEqual(['one', 'two']);
    socket.close();
  });

  test('text, binary, empty, long and fragmented messages keep their bytes and kind', async () => {
    const socket = await opened();
    for (const message of ['', 'žluťoučký', Buffer.alloc(0), Buffer.from([0, 255, 128]), Buffer.alloc(20_000_000, 7)]) {
      socket.send(message);
      const { data, isBinary } = await next(socket);
      expect(isBinary).toBe(typeof message !== 'string');
      expect(Buffer.compare(data, Buffer.from(message as string))).toBe(0);
    }
    socket.send('frag', { fin: false });
    socket.send('men', { fin: false });
    socket.send('ted', { fin: true });
    expect(String((await next(socket)).data)).toBe('fragmented');
    socket.close();
  });

  test('pings and pongs go through both ways', async () => {
    const events: string[] = [];
    let guest: WebSocket | undefined;
    const heard = new Promise<void>((resolve) => {
      serve = (socket) => {
        guest = socket;
        socket.on('ping', (data) => {
          events.push(`guest was pinged ${data}`);
          socket.ping('are you there');
        });
        socket.on('pong', (data) => {
          events.push(`guest got ${data}`);
          resolve();
        });
      };
    });
    const socket = await opened();
    const pong = once(socket, 'pong');
    socket.ping('hello');
    expect(String((await pong)[0])).toBe('hello');
    await heard;
    expect(events).toEqual(['guest was pinged hello', 'guest got are you there']);
    guest?.close();
    await once(socket, 'close');
  });

  test.each([
    [1000, 'done'],
    [1001, ''],
    [4999, 'jupyter'],
  ])('close %i %s from either side', async (code, reason) => {
    let guest: WebSocket | undefined;
    serve = (socket) => {
      guest = socket;
    };
    const first = await opened();
    await expect.poll(() => guest).toBeDefined();
    const atGuest = once(guest as WebSocket, 'close');
    first.close(code, reason);
    expect((await atGuest).map(String)).toEqual([String(code), reason]);

    guest = undefined;
    const second = await opened();
    await expect.poll(() => guest).toBeDefined();
    const atClient = once(second, 'close');
    (guest as WebSocket | undefined)?.close(code, reason);
    expect((await atClient).map(String)).toEqual([String(code), reason]);
  });

  test('every close code goes through from either side', async () => {
    let guest: WebSocket | undefined;
    serve = (socket) => {
      guest = socket;
    };
    const first = await opened();
    await expect.poll(() => guest).toBeDefined();
    const atClient = once(first, 'close');
    guest?.close(3001, 'own');
    expect((await atClient).map(String)).toEqual(['3001', 'own']);

    guest = undefined;
    const second = await opened();
    await expect.poll(() => guest).toBeDefined();
    const atGuest = once(guest as unknown as WebSocket, 'close');
    second.close(3001, 'own');
    expect((await atGuest).map(String)).toEqual(['3001', 'own']);
  });

  test('a close without a status has none on the other side', async () => {
    let guest: WebSocket | undefined;
    serve = (socket) => {
      guest = socket;
    };
    const socket = await opened();
    await expect.poll(() => guest).toBeDefined();
    const atGuest = once(guest as WebSocket, 'close');
    socket.close();
    expect((await atGuest)[0]).toBe(1005);
  });

  test('whoever dies takes the other side along', async () => {
    let guest: WebSocket | undefined;
    serve = (socket) => {
      guest = socket;
    };
    const first = await opened();
    await expect.poll(() => guest).toBeDefined();
    const atGuest = once(guest as WebSocket, 'close');
    first.terminate();
    expect((await atGuest)[0]).toBe(1006);

    guest = undefined;
    const second = await opened();
    await expect.poll(() => guest).toBeDefined();
    const atClient = once(second, 'close');
    (guest as WebSocket | undefined)?.terminate();
    expect((await atClient)[0]).toBe(1006);
  });

  test('a client that does not read holds up the guest', async () => {
    let sent = 0;
    const block = Buffer.alloc(1_000_000);
    const total = 200;
    serve = (socket) => {
      const pump = () => {
        if (sent >= total) return;
        sent += 1;
        socket.send(block, () => pump());
      };
      pump();
    };
    const socket = await opened();
    socket.pause();
    let before = -1;
    while (before !== sent) {
      before = sent;
      await new Promise((resolve) => setTimeout(resolve, 200));
    }
    expect(sent).toBeLessThan(60); // what the kernels' buffers of three hops take
    let received = 0;
    await new Promise<void>((resolve) => {
      socket.on('message', () => {
        received += 1;
        if (received === total) resolve();
      });
      socket.resume();
    });
    socket.close();
  });

  test('a guest that does not read holds up its client', async () => {
    let guest: WebSocket | undefined;
    let taken = 0;
    serve = (socket) => {
      guest = socket;
      socket.pause();
      socket.on('message', () => {
        taken += 1;
      });
    };
    const socket = await opened();
    const block = Buffer.alloc(1_000_000);
    const total = 150;
    let sent = 0;
    for (let count = 0; count < total; count += 1)
      socket.send(block, () => {
        sent += 1;
      });
    let before = -1;
    while (before !== sent) {
      before = sent;
      await new Promise((resolve) => setTimeout(resolve, 200));
    }
    expect(sent).toBeLessThan(60);
    guest?.resume();
    await expect.poll(() => taken).toBe(total);
    socket.close();
  });

  test('a message of 60 MB goes through: nothing on the way holds it', async () => {
    const socket = await opened();
    const closed = once(socket, 'close');
    socket.send(Buffer.alloc(60_000_000, 7));
    expect((await next(socket)).data.length).toBe(60_000_000);
    socket.close();
    await closed;
  });
});

describe('PX3: refusals before the upgrade', () => {
  test('closed port, no access, malformed host', async () => {
    expect(await refused(dial({ at: 9 }))).toMatchObject({ status: 401 });
    expect(await refused(dial({ at: 9, headers: { 'x-api-key': key } }))).toMatchObject({ status: 502 });
    expect(await refused(dial({ at: 70_000 }))).toMatchObject({ status: 400 });
  });

  test('what the guest answers instead of an upgrade is passed on', async () => {
    refuse = (socket) => socket.end('HTTP/1.1 403 Forbidden\r\nx-why: token\r\ncontent-length: 4\r\n\r\nno!\n');
    const socket = dial();
    const [, response] = (await once(socket, 'unexpected-response')) as [unknown, IncomingMessage];
    expect(response).toMatchObject({ statusCode: 403 });
    expect(response.headers['x-why']).toBe('token');
    let text = '';
    for await (const chunk of response) text += chunk;
    expect(text).toBe('no!\n');
  });

  test('a WebSocket of the API is still the API’s', async () => {
    const socket = dial({ path: `/v1/sandboxes/${id}/pty`, headers: { host: `localhost:${fleet.port}` } });
    expect((await refused(socket)).status).toBe(401);
    const other = dial({ path: '/nothing', headers: { host: `localhost:${fleet.port}` } });
    expect((await refused(other)).status).toBe(404);
  });
});

test('AG3: destroying a sandbox cuts its sockets', async () => {
  const answer = await call(fleet, 'POST', '/v1/sandboxes', { key, body: { public_ports: 'all' } });
  const socket = new WebSocket(`ws://127.0.0.1:${fleet.port}/`, {
    headers: { host: `${port}-${answer.body.id}.localhost` },
  });
  await once(socket, 'open');
  const closed = once(socket, 'close');
  await call(fleet, 'DELETE', `/v1/sandboxes/${answer.body.id}`, { key });
  expect((await closed)[0]).toBe(1006);
});

test('PX2: 1,000 sockets at once, each answered, in bounded memory', { timeout: 60_000 }, async () => {
  const before = process.memoryUsage().rss;
  const sockets: WebSocket[] = [];
  for (let batch = 0; batch < 10; batch += 1) {
    sockets.push(...(await Promise.all(Array.from({ length: 100 }, () => opened()))));
  }
  const answers = sockets.map(async (socket, at) => {
    const answer = next(socket);
    socket.send(`message ${at}`);
    return String((await answer).data);
  });
  expect(new Set(await Promise.all(answers)).size).toBe(1_000);
  // Client, gateway, front and guest of each socket are all in this process.
  expect((process.memoryUsage().rss - before) / 1_000).toBeLessThan(300_000);
  for (const socket of sockets) socket.terminate();
  await expect.poll(() => server.clients.size).toBe(0);
});

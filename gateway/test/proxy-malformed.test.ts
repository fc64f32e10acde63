import { once } from 'node:events';
import type { AddressInfo } from 'node:net';
import { createServer, type Socket } from 'node:net';
import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest';
import { call } from './gateway.ts';
import { rawRequest } from './raw-http.ts';
import { type Fleet, startFleet } from './testing/fleet.ts';

/**
 * What a client may write on a connection, and what of it reaches a guest: byte for byte, so that nothing that two servers
 * could read differently gets through (request smuggling).
 */
const GUEST_IP = '127.0.77.3';

let fleet: Fleet;
let host: string;
let received: string;
const sockets = new Set<Socket>();

/** Keeps what it gets, and answers each head with 200. */
const guest = createServer((socket) => {
  sockets.add(socket);
  socket.on('error', () => undefined);
  socket.on('data', (bytes) => {
    received += bytes.toString('latin1');
    if (received.includes('\r\n\r\n')) socket.write('HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok');
  });
});

beforeAll(async () => {
  fleet = await startFleet();
  await fleet.addHost({ guest: { ip: GUEST_IP, accessToken: 'a token' } });
  guest.listen(0, GUEST_IP);
  await once(guest, 'listening');
  const { port } = guest.address() as AddressInfo;
  const key = await fleet.newKey();
  const { body } = await call(fleet, 'POST', '/v1/sandboxes', { key, body: { public_ports: 'all' } });
  host = `${port}-${body.id}.localhost`;
});
afterAll(async () => {
  for (const socket of sockets) socket.destroy();
  guest.close();
  await fleet?.close();
});
beforeEach(() => {
  received = '';
});

/** All that is answered, until so many answers are whole. */
const send = (raw: string, answers = 1) =>
  rawRequest(
    fleet.port,
    Buffer.from(raw.replaceAll('HOST', host), 'latin1'),
    (text) => text.includes('\r\n\r\n') && (!text.startsWith('HTTP/1.1 200') || text.split('ok').length > answers),
  );
const heads = () => received.split('HTTP/1.1\r\n').length - 1;
/** Names of the fields that reached the guest, as they are spelled there. */
const names = () => {
  const [, ...lines] = (received.split('\r\n\r\n', 1)[0] ?? '').split('\r\n');
  return lines.map((line) => line.slice(0, line.indexOf(': ')));
};
const OURS = ['Host', 'X-Forwarded-For', 'X-Forwarded-Host', 'X-Forwarded-Proto'];

describe('PX2: refused before a guest sees anything', () => {
  test.each([
    [
      'a length and chunks',
      'POST / HTTP/1.1\r\nHost: HOST\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n',
      400,
    ],
    ['two lengths', 'POST / HTTP/1.1\r\nHost: HOST\r\nContent-Length: 3\r\nContent-Length: 8\r\n\r\nabcdefgh', 400],
    [
      'the same length twice',
      'POST / HTTP/1.1\r\nHost: HOST\r\nContent-Length: 3\r\nContent-Length: 3\r\n\r\nabc',
      400,
    ],
    ['a list of lengths', 'POST / HTTP/1.1\r\nHost: HOST\r\nContent-Length: 3, 3\r\n\r\nabc', 400],
    ['a signed length', 'POST / HTTP/1.1\r\nHost: HOST\r\nContent-Length: +3\r\n\r\nabc', 400],
    ['a length in hexadecimal', 'POST / HTTP/1.1\r\nHost: HOST\r\nContent-Length: 0x3\r\n\r\nabc', 400],
    [
      'a coding before chunked',
      'POST / HTTP/1.1\r\nHost: HOST\r\nTransfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n',
      400,
    ],
    ['an unknown coding', 'POST / HTTP/1.1\r\nHost: HOST\r\nTransfer-Encoding: xchunked\r\n\r\n0\r\n\r\n', 400],
    ['identity', 'POST / HTTP/1.1\r\nHost: HOST\r\nTransfer-Encoding: identity\r\n\r\n0\r\n\r\n', 400],
    [
      'two codings',
      'POST / HTTP/1.1\r\nHost: HOST\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n',
      400,
    ],
    ['a space before the colon', 'POST / HTTP/1.1\r\nHost: HOST\r\nTransfer-Encoding : chunked\r\n\r\n0\r\n\r\n', 400],
    [
      'a chunk size that is none',
      'POST / HTTP/1.1\r\nHost: HOST\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\nabc\r\n0\r\n\r\n',
      400,
    ],
    ['a folded line', 'GET / HTTP/1.1\r\nHost: HOST\r\nX-A: 1\r\n 2\r\n\r\n', 400],
    ['a NUL in a value', 'GET / HTTP/1.1\r\nHost: HOST\r\nX-A: 1\0\r\n\r\n', 400],
    ['two hosts', 'GET / HTTP/1.1\r\nHost: HOST\r\nHost: example.com\r\n\r\n', 400],
    ['no host', 'GET / HTTP/1.1\r\n\r\n', 400],
    ['a whole URL as target', 'GET http://example.com/ HTTP/1.1\r\nHost: HOST\r\n\r\n', 505],
    ['a star as target', 'OPTIONS * HTTP/1.1\r\nHost: HOST\r\n\r\n', 505],
    ['CONNECT', 'CONNECT example.com:443 HTTP/1.1\r\nHost: HOST\r\n\r\n', 505],
    ['HTTP/1.0', 'GET / HTTP/1.0\r\nHost: HOST\r\n\r\n', 505],
    ['bare line feeds', 'GET / HTTP/1.1\nHost: HOST\n\n', 505],
    ['a head of more than 16 KiB', `GET / HTTP/1.1\r\nHost: HOST\r\nX-A: ${'a'.repeat(17_000)}\r\n\r\n`, 431],
    ['more than 100 fields', `GET / HTTP/1.1\r\nHost: HOST\r\n${'X-A: 1\r\n'.repeat(110)}\r\n`, 431],
    ['an upgrade to HTTP/3', 'GET / HTTP/1.1\r\nHost: HOST\r\nConnection: upgrade\r\nUpgrade: h3\r\n\r\n', 501],
  ])('%s', async (_name, raw, status) => {
    const answer = await send(raw);
    expect(Number(answer.slice(9, 12)), answer.slice(0, 200)).toBe(status);
    // Some of a body may have been passed on before it was found to be malformed: then no second request is seen.
    if (!raw.includes('\r\n\r\nzz')) expect(received).toBe('');
    expect(heads()).toBeLessThanOrEqual(1);
  });
});

describe('PX2: written anew for the guest', () => {
  test('a request behind another is one of its own: read as strictly, and answered after it', async () => {
    const behind = 'GET /two HTTP/1.1\r\nHost: HOST\r\nwrenn-authorization: x\r\n\r\n';
    await send(`POST /one HTTP/1.1\r\nHost: HOST\r\nContent-Length: 3\r\n\r\nabc${behind}`, 2);
    expect(heads()).toBe(2);
    expect(received.indexOf('abc')).toBeLessThan(received.indexOf('GET /two'));
    expect(received.match(/wrenn-/gi)).toBeNull();

    received = '';
    const smuggled = 'POST /three HTTP/1.1\r\nHost: HOST\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nab';
    await send(`POST /one HTTP/1.1\r\nHost: HOST\r\nContent-Length: 3\r\n\r\nabc${smuggled}`, 2);
    expect(heads()).toBe(1);
  });

  test('who says to be the door is none: the question is answered to nobody else', async () => {
    const answer = await send('GET / HTTP/1.1\r\nHost: HOST\r\nwrenn-ask: x 1 first\r\n\r\n');
    expect(answer).toContain(' 200 ');
    expect(answer).not.toContain('wrenn-way');
    expect(received).not.toContain('wrenn-ask');
  });

  test('a chunked body arrives as it is', async () => {
    await send('POST / HTTP/1.1\r\nHost: HOST\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n2\r\nde\r\n0\r\n\r\n');
    const body = received.slice(received.indexOf('\r\n\r\n') + 4);
    expect(body.endsWith('0\r\n\r\n')).toBe(true);
    const chunks = [...body.matchAll(/([0-9a-f]+)\r\n([^\r]*)\r\n/g)].map(([, , data]) => data).join('');
    expect(chunks).toBe('abcde');
  });

  test('names reach the guest as the client spells them; what is written anew has its usual name', async () => {
    await send(
      'POST / HTTP/1.1\r\nhost: HOST\r\nX-CamelCase-ID: 1\r\nx-lower: 2\r\nCONTENT-Type: text/plain\r\n' +
        'x-forwarded-PROTO: https\r\ncookie: a=1\r\ncontent-LENGTH: 3\r\n\r\nabc',
    );
    expect(names()).toEqual([...OURS, 'X-CamelCase-ID', 'x-lower', 'CONTENT-Type', 'cookie', 'Content-Length']);
    expect(received).toContain('X-Forwarded-Proto: https');

    received = '';
    await send('POST / HTTP/1.1\r\nhOST: HOST\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n');
    expect(names()).toEqual([...OURS, 'Transfer-Encoding']);
  });

  test('an upgrade has its usual names, and the names of its handshake are the client’s', async () => {
    await send(
      'GET / HTTP/1.1\r\nHost: HOST\r\nconnection: Upgrade\r\nupgrade: websocket\r\nSec-WebSocket-Version: 13\r\n' +
        'sec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\nSEC-WEBSOCKET-EXTENSIONS: permessage-deflate\r\n\r\n',
    );
    expect(names()).toEqual([...OURS, 'Sec-WebSocket-Version', 'sec-websocket-key', 'Upgrade', 'Connection']);
  });

  test('hop-by-hop fields end here, and ours cannot be forged', async () => {
    await send(
      'GET / HTTP/1.1\r\nHost: HOST\r\nConnection: keep-alive, X-Secret, close\r\nX-Secret: 1\r\nKeep-Alive: timeout=5\r\n' +
        'TE: trailers\r\nProxy-Authorization: Basic eDp5\r\nWrenn-Incarnation: 99\r\nWrenn-Authorization: Bearer x\r\n' +
        'X-Kept: yes\r\n\r\n',
    );
    expect(received).toContain('X-Kept: yes');
    expect(received.toLowerCase()).not.toMatch(/x-secret|keep-alive:|proxy-authorization|wrenn-|\nte:/);
  });

  test('a target with control characters or a fragment does not split the request line', async () => {
    const answer = await send('GET /a%0d%0ab?c=%20d HTTP/1.1\r\nHost: HOST\r\n\r\n');
    expect(answer).toContain(' 200 ');
    expect(received.split('\r\n', 1)[0]).toBe('GET /a%0d%0ab?c=%20d HTTP/1.1');
  });
});

import { once } from 'node:events';
import net, { type AddressInfo, type Socket } from 'node:net';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { type Front, frontListen, routeDelete, routeSet } from '../index.js';

/** HTTP/1.1 of the front, byte for byte: what guests and clients may write, and what the other side gets. */
const GUEST_IP = '127.0.4.1';
const ID = 'sb-bytes';

let front: Front;
let guest: net.Server;
let port: number;
/** Called with a guest's connection and all that came on it so far, after each piece. */
let answer: (socket: Socket, received: string) => void;
/** What came on each connection. */
let connections: string[];
const sockets = new Set<Socket>();

beforeAll(async () => {
  front = await frontListen({ address: '127.0.0.1:0', upstream: '/nonexistent', identity: null });
  guest = net.createServer((socket) => {
    sockets.add(socket);
    const at = connections.push('') - 1;
    socket.on('error', () => undefined);
    socket.on('data', (bytes) => {
      connections[at] += bytes.toString('latin1');
      answer(socket, connections[at] as string);
    });
  });
  guest.listen(0, GUEST_IP);
  await once(guest, 'listening');
  ({ port } = guest.address() as AddressInfo);
});
afterAll(() => {
  front.close();
  for (const socket of sockets) socket.destroy();
  guest.close();
});
beforeEach(() => {
  connections = [];
  routeSet({ sandboxId: ID, incarnation: 1, guestIp: GUEST_IP, accessToken: 'x', state: 'ready' });
});
afterEach(() => void routeDelete(ID));

/** A client's connection, and what came on it. */
class Client {
  text = '';
  ended = false;
  readonly socket: Socket;

  constructor() {
    this.socket = net.connect(front.port, '127.0.0.1');
    this.socket.on('error', () => undefined);
    this.socket.on('data', (bytes) => {
      this.text += bytes.toString('latin1');
    });
    this.socket.on('close', () => {
      this.ended = true;
    });
  }

  send(method: string, fields = '', body = ''): void {
    this.socket.write(`${method} /proxy/${ID}/${port}/ HTTP/1.1\r\nHost: a\r\n${fields}\r\n${body}`);
  }

  async until(part: string): Promise<void> {
    await expect.poll(() => this.text).toContain(part);
  }

  async end(): Promise<void> {
    await expect.poll(() => this.ended).toBe(true);
  }
}

const ok = (body: string) => `HTTP/1.1 200 OK\r\nContent-Length: ${body.length}\r\n\r\n${body}`;
const heads = (received: string) => received.split('\r\n\r\n').length - 1;

describe('answers', () => {
  it.each([
    ['to HEAD', 'HEAD', 'HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n', 'Content-Length: 9\r\n\r\n'],
    ['204', 'GET', 'HTTP/1.1 204 No Content\r\n\r\n', '204 No Content\r\n\r\n'],
    ['304', 'GET', 'HTTP/1.1 304 Not Modified\r\nETag: x\r\n\r\n', 'ETag: x\r\n\r\n'],
    ['of length 0', 'GET', 'HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n', 'Content-Length: 0\r\n\r\n'],
    [
      'in chunks',
      'GET',
      'HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\na\r\n0\r\n\r\n',
      '1\r\na\r\n0\r\n\r\n',
    ],
  ])('%s end where they end: the next one is not part of them', async (_name, method, raw, end) => {
    answer = (socket, received) => void socket.write(heads(received) === 1 ? raw : ok('next'));
    const client = new Client();
    client.send(method);
    await client.until(end);
    expect(client.text.endsWith(end)).toBe(true);
    client.send('GET');
    await client.until('next');
    expect(connections.length).toBe(1);
    client.socket.destroy();
  });

  it('without a length, of an old server, get chunks', async () => {
    answer = (socket) => void socket.end('HTTP/1.0 200 OK\n\nall of it');
    const client = new Client();
    client.send('GET');
    await client.until('9\r\nall of it\r\n0\r\n\r\n');
    client.socket.destroy();
  });

  it('before the answer are dropped, and trailers too', async () => {
    const raw =
      'HTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\nHTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\nX-T: 1\r\n\r\n';
    answer = (socket) => {
      for (const byte of raw) socket.write(byte);
    };
    const client = new Client();
    client.send('GET');
    await client.until('0\r\n\r\n');
    expect(client.text).toBe('HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n');
    client.socket.destroy();
  });

  it.each([
    ['no answer at all', 'SSH-2.0\r\n\r\n'],
    ['an answer of two lengths', 'HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nab'],
    [
      'an upgrade that nobody asked for',
      'HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\n',
    ],
  ])('%s is 502', async (_name, raw) => {
    answer = (socket) => void socket.write(raw);
    const client = new Client();
    client.send('GET');
    await client.until('wrenn-error-code: guest_error');
    expect(client.text.slice(9, 12)).toBe('502');
    client.socket.destroy();
  });

  it('that say more than their length end the connection to the guest, and nobody gets the rest', async () => {
    answer = (socket, received) => void (heads(received) === 1 && socket.write(`${ok('a')}HTTP/1.1 200 OK\r\n`));
    const client = new Client();
    for (let count = 1; count <= 2; count += 1) {
      client.send('GET');
      await expect.poll(() => client.text).toBe('HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\na'.repeat(count));
    }
    expect(connections.length).toBe(2);
    client.socket.destroy();
  });

  it('that come before the upload is whole reach the client; what it still sends is thrown away', async () => {
    answer = (socket, received) => void (heads(received) === 1 && socket.write(ok('enough')));
    const client = new Client();
    client.send('POST', 'Content-Length: 100000\r\n', 'x'.repeat(10));
    await client.until('enough');
    client.socket.write('x'.repeat(99_990));
    client.send('GET');
    await expect.poll(() => client.text.split('enough').length).toBe(3);
    // The first connection was in the midst of a request.
    expect(connections.length).toBe(2);
    expect(connections[1]).toMatch(/^GET /);
    client.socket.destroy();
  });
});

describe('requests', () => {
  beforeEach(() => {
    answer = (socket, received) => void (received.endsWith('\r\n\r\n') && socket.write(ok('x')));
  });

  it('one behind the other are answered one after the other', async () => {
    const client = new Client();
    const one = `/proxy/${ID}/${port}/`;
    client.socket.write(`GET ${one}1 HTTP/1.1\r\nHost: a\r\n\r\nGET ${one}2 HTTP/1.1\r\nHost: a\r\n\r\nGET ${one}3 HT`);
    await expect.poll(() => heads(client.text)).toBe(2);
    client.socket.write('TP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n');
    await client.end();
    expect(heads(client.text)).toBe(3);
    expect(connections.join('').match(/GET \/\d/g)).toEqual(['GET /1', 'GET /2', 'GET /3']);
  });

  it('in chunks arrive as they are, however they are cut', async () => {
    const client = new Client();
    client.send('POST', 'Transfer-Encoding: chunked\r\n');
    const body = '3;x=1\r\nabc\r\n5\r\ndefgh\r\n0\r\n\r\n';
    for (const byte of body) {
      client.socket.write(byte);
      await new Promise((resolve) => setImmediate(resolve));
    }
    await client.until('200 OK');
    expect(connections[0]?.split('\r\n\r\n').slice(1).join('\r\n\r\n')).toBe(body);
    client.socket.destroy();
  });

  it('whose chunks are none, or have trailers, are cut', async () => {
    for (const body of ['zz\r\n', '1\r\nab\r\n', '0\r\nX-T: 1\r\n\r\n']) {
      const client = new Client();
      client.send('POST', 'Transfer-Encoding: chunked\r\n', body);
      await client.until(' 400 ');
      await client.end();
    }
  });

  it('that expect 100-continue are told to go on', async () => {
    answer = (socket, received) => void (received.endsWith('body') && socket.write(ok('done')));
    const client = new Client();
    client.send('POST', 'Content-Length: 4\r\nExpect: 100-continue\r\n');
    await client.until('HTTP/1.1 100 Continue\r\n\r\n');
    client.socket.write('body');
    await client.until('done');
    expect(connections[0]).not.toMatch(/expect/i);
    client.socket.destroy();
  });

  it('whose client leaves end the connection to the guest', async () => {
    const seen = { asked: false, closed: false };
    answer = (socket) => {
      seen.asked = true;
      socket.on('close', () => {
        seen.closed = true;
      });
    };
    const client = new Client();
    client.send('GET');
    await expect.poll(() => seen.asked).toBe(true);
    client.socket.destroy();
    await expect.poll(() => seen.closed).toBe(true);
  });
});

describe('a connection that the guest closes while it is idle', () => {
  it('is not used again', async () => {
    let finished = false;
    answer = (socket, received) => {
      if (!/hello|\r\n\r\n$/.test(received)) return;
      socket.end(ok('x'), () => {
        finished = true; // without having said so
      });
    };
    const client = new Client();
    client.send('GET');
    await client.until('\r\n\r\nx');
    await expect.poll(() => finished).toBe(true);
    client.send('POST', 'Content-Length: 5\r\n', 'hello');
    await expect.poll(() => heads(client.text)).toBe(2);
    expect(client.text).not.toContain('502');
    client.socket.destroy();
  });

  it.each([
    ['GET', 'asked once more on another one', 200, '', ''],
    ['POST', 'not asked twice: who knows what it has done', 502, 'Content-Length: 5\r\n', 'hello'],
  ])('while a %s is on its way: the guest is %s', async (method, _what, status, fields, body) => {
    answer = (socket, received) => {
      const first = connections.length === 1;
      if (first && heads(received) > 1) socket.destroy();
      else socket.write(ok('x'));
    };
    const client = new Client();
    client.send('GET');
    await client.until('\r\n\r\nx');
    client.text = '';
    client.send(method, fields, body);
    await client.until('HTTP/1.1 ');
    expect(client.text.slice(9, 12)).toBe(String(status));
    expect(connections.length).toBe(status === 200 ? 2 : 1);
    client.socket.destroy();
  });
});

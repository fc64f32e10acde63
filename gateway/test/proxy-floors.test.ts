import { once } from 'node:events';
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest';
import { call } from './gateway.ts';
import { rawConnect } from './raw-http.ts';
import { type Fleet, startFleet } from './testing/fleet.ts';

/** What is not timed (docs/proxy.md, "Limits"). The HTTP library's own timers must not reach what is for sandboxes. */
const GUEST_IP = '127.0.77.6';

let fleet: Fleet;
let host: string;
let serve: (request: IncomingMessage, response: ServerResponse) => void;
const app = createServer((incoming, response) => serve(incoming, response));

beforeAll(async () => {
  fleet = await startFleet();
  await fleet.addHost({ guest: { ip: GUEST_IP, accessToken: 'a token' } });
  app.listen(0, GUEST_IP);
  await once(app, 'listening');
  const { port } = app.address() as AddressInfo;
  const { body } = await call(fleet, 'POST', '/v1/sandboxes', {
    key: await fleet.newKey(),
    body: { public_ports: 'all' },
  });
  host = `${port}-${body.id}.localhost`;
});
afterAll(async () => {
  app.closeAllConnections();
  app.close();
  await fleet?.close();
});
beforeEach(() => {
  serve = (incoming, response) => {
    incoming.resume();
    incoming.on('end', () => response.end('whole'));
  };
});

describe('time', () => {
  test('a reader that takes nothing for longer than the library would wait gets the whole answer then', {
    timeout: 60_000,
  }, async () => {
    const total = 50_000_000;
    serve = (_, response) => {
      response.setHeader('content-length', total);
      response.end(Buffer.alloc(total));
    };
    const socket = await rawConnect(fleet.port);
    socket.pause();
    socket.write(`GET / HTTP/1.1\r\nHost: ${host}\r\nConnection: close\r\n\r\n`);
    await new Promise((resolve) => setTimeout(resolve, 14_000)); // longer than every timer of the library
    let received = 0;
    socket.on('data', (chunk: Buffer) => {
      received += chunk.length;
    });
    socket.resume();
    await once(socket, 'end');
    expect(received).toBeGreaterThan(total);
    socket.destroy();
  });

  test('an upload that drips arrives whole', { timeout: 60_000 }, async () => {
    const socket = await rawConnect(fleet.port);
    let text = '';
    socket.on('data', (chunk) => {
      text += chunk;
    });
    socket.write(`POST / HTTP/1.1\r\nHost: ${host}\r\nContent-Length: 14\r\n\r\n`);
    const drip = setInterval(() => socket.write('x'), 1_000);
    await expect.poll(() => text, { timeout: 40_000 }).toContain('whole');
    clearInterval(drip);
    socket.destroy();
  });

  test('a head that does not come to its end is cut', { timeout: 60_000 }, async () => {
    const socket = await rawConnect(fleet.port);
    const closed = once(socket, 'close');
    socket.resume();
    socket.write(`GET / HTTP/1.1\r\nHost: ${host}\r\n`);
    const drip = setInterval(() => socket.write('X-A: 1\r\n'), 1_000);
    await closed;
    clearInterval(drip);
  });

  test('100-continue is said by the gateway itself, before the guest is asked', async () => {
    const socket = await rawConnect(fleet.port);
    let text = '';
    socket.on('data', (chunk) => {
      text += chunk;
    });
    socket.write(`POST / HTTP/1.1\r\nHost: ${host}\r\nExpect: 100-continue\r\nContent-Length: 5\r\n\r\n`);
    await expect.poll(() => text).toBe('HTTP/1.1 100 Continue\r\n\r\n');
    socket.write('hello');
    await expect.poll(() => text).toContain('whole');
    socket.destroy();
  });

  test('a silent stream is not cut: nothing times what is only quiet', { timeout: 60_000 }, async () => {
    serve = (_, response) => {
      response.write('first');
      setTimeout(() => response.end('last'), 14_000); // longer than every timer of the library
    };
    const socket = await rawConnect(fleet.port);
    let text = '';
    socket.on('data', (chunk) => {
      text += chunk;
    });
    socket.write(`GET / HTTP/1.1\r\nHost: ${host}\r\nConnection: keep-alive\r\n\r\n`);
    await expect.poll(() => text, { timeout: 30_000 }).toContain('last');
    socket.destroy();
  });
});

import { once } from 'node:events';
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest';
import { call } from './gateway.ts';
import { rawConnect } from './raw-http.ts';
import { type Fleet, startFleet } from './testing/fleet.ts';

/** What the HTTP library does by itself and cannot be told otherwise (docs/proxy.md, "Limits"): known, not wished for. */
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

describe('floors of the library', () => {
  test('a reader that takes nothing is cut after about 10 s, and the guest learns it', {
    timeout: 60_000,
  }, async () => {
    const closed = new Promise<void>((resolve) => {
      serve = (_, response) => {
        response.on('close', resolve);
        response.write(Buffer.alloc(50_000_000));
      };
    });
    const socket = await rawConnect(fleet.port);
    socket.pause();
    socket.write(`GET / HTTP/1.1\r\nHost: ${host}\r\n\r\n`);
    await closed;
    socket.destroy();
  });

  test('an upload that drips is cut', { timeout: 60_000 }, async () => {
    const socket = await rawConnect(fleet.port);
    const closed = once(socket, 'close');
    socket.resume();
    socket.write(`POST / HTTP/1.1\r\nHost: ${host}\r\nContent-Length: 1000000\r\n\r\n`);
    const drip = setInterval(() => socket.write('x'), 1_000);
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

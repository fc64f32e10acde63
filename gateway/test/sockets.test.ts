import { once } from 'node:events';
import { setTimeout as delay } from 'node:timers/promises';
import { WrennError } from '@wrenn/core';
import { afterAll, beforeAll, expect, test } from 'vitest';
import WebSocket from 'ws';
import { z } from 'zod';
import { socketRoute } from '../src/http/route.ts';
import { createServer, type Server } from '../src/http/server.ts';
import { authorise } from '../src/identity/authorise.ts';
import { call, signUp, startGateway, type TestGateway } from './gateway.ts';

let gateway: TestGateway;
let server: Server;
let port: number;
let token: string;
const seen = { sent: 0, sendFailed: 0, ended: 0 };

const common = { tag: 'test', summary: 'test' } as const;
const routes = [
  socketRoute({
    ...common,
    path: '/echo/{name}',
    auth: ['K', 'J'],
    params: z.strictObject({ name: z.string() }),
    handler: async ({ params, auth }) => {
      if (params.name === 'missing') throw new WrennError('not_found', 'no such echo');
      return async (socket) => {
        await socket.sendJson({ name: params.name, kind: auth.kind });
        for await (const message of socket.messages) {
          if (message.type === 'text' && message.text === 'end') return;
          if (message.type === 'text' && message.text === 'fail') throw new WrennError('disk_full', 'no room');
          await socket.send(message.type === 'text' ? message.text : message.bytes);
        }
        seen.ended += 1;
      };
    },
  }),
  socketRoute({
    ...common,
    path: '/flood',
    auth: ['-'],
    handler: async () => async (socket) => {
      try {
        for (;;) {
          await socket.send(Buffer.alloc(65_536));
          seen.sent += 1;
        }
      } catch {
        seen.sendFailed += 1;
      }
    },
  }),
  socketRoute({
    ...common,
    path: '/deaf',
    auth: ['-'],
    handler: async () => (socket) => once(socket.signal, 'abort').then(() => undefined),
  }),
];

beforeAll(async () => {
  gateway = await startGateway();
  ({ token } = await signUp(gateway));
  server = createServer(routes, authorise, gateway.services);
  port = await server.listen('127.0.0.1', 0);
});
afterAll(async () => {
  await server.stop(100);
  await gateway.close();
});

const open = (path: string, protocols: string[] = [], headers: Record<string, string> = {}) =>
  new WebSocket(`ws://127.0.0.1:${port}${path}`, protocols, { headers });
const bearer = () => ({ authorization: `Bearer ${token}` });
/** The HTTP answer that refused an upgrade. */
async function refusal(socket: WebSocket) {
  socket.on('error', () => undefined);
  const [, response] = await once(socket, 'unexpected-response');
  let text = '';
  for await (const chunk of response) text += chunk;
  return { status: response.statusCode as number, body: JSON.parse(text) };
}

test('messages both ways, text and binary, and a close from our side', async () => {
  const socket = open('/echo/a%20b', ['wrenn.v1'], bearer());
  const [hello] = await once(socket, 'message');
  expect(socket.protocol).toBe('wrenn.v1');
  expect(JSON.parse(String(hello))).toEqual({ name: 'a b', kind: 'J' });
  socket.send('wörd');
  expect(String((await once(socket, 'message'))[0])).toBe('wörd');
  socket.send(Buffer.from([0, 255]));
  const [bytes, isBinary] = await once(socket, 'message');
  expect([bytes, isBinary]).toEqual([Buffer.from([0, 255]), true]);
  socket.send('end');
  expect((await once(socket, 'close'))[0]).toBe(1000);
});

test('a browser hands its token over as a subprotocol', async () => {
  const socket = open('/echo/x', ['wrenn.v1', `wrenn.auth.${token}`]);
  await once(socket, 'message');
  expect(socket.protocol).toBe('wrenn.v1'); // the secret is not echoed
  const made = await call(gateway, 'POST', '/v1/api-keys', { token, body: { name: 'ws' } });
  const byKey = open('/echo/x', ['wrenn.v1', `wrenn.auth.${made.body.key}`]);
  expect(JSON.parse(String((await once(byKey, 'message'))[0])).kind).toBe('K');
  socket.close();
  byKey.close();
});

test('what is wrong is said before the upgrade', async () => {
  expect((await refusal(open('/echo/x'))).status).toBe(401);
  expect((await refusal(open('/echo/x', ['wrenn.v1', 'wrenn.auth.rubbish']))).status).toBe(401);
  const missing = await refusal(open('/echo/missing', [], bearer()));
  expect(missing).toMatchObject({ status: 404, body: { error: { code: 'not_found' } } });
  expect((await refusal(open('/nowhere', [], bearer()))).status).toBe(404);
});

test('a handler that fails closes with 1011 and the reason', async () => {
  const socket = open('/echo/x', [], bearer());
  await once(socket, 'message');
  socket.send('fail');
  const [code, reason] = await once(socket, 'close');
  expect([code, String(reason)]).toEqual([1011, 'disk_full: no room']);
});

test('the handler hears that the peer is gone', async () => {
  const ended = seen.ended;
  const socket = open('/echo/x', [], bearer());
  await once(socket, 'message');
  socket.terminate();
  await expect.poll(() => seen.ended).toBe(ended + 1);
});

test('a peer that does not read stops the sender; its going away ends it', async () => {
  const socket = open('/flood');
  await once(socket, 'open');
  socket.pause();
  await delay(500);
  const sent = seen.sent;
  expect(sent).toBeGreaterThan(0);
  expect(sent).toBeLessThan(400);
  await delay(200);
  expect(seen.sent).toBe(sent);
  socket.terminate();
  await expect.poll(() => seen.sendFailed).toBe(1);
});

test('a peer that sends more than anybody reads is sent away', async () => {
  const socket = open('/deaf');
  await once(socket, 'open');
  const closed = once(socket, 'close');
  for (let i = 0; i < 20; i += 1) socket.send(Buffer.alloc(1_048_576));
  expect((await closed)[0]).toBe(1013);
});

test('a plain GET is told to upgrade, and a stopping server says that it goes', async () => {
  const plain = await fetch(`http://127.0.0.1:${port}/deaf`);
  expect(plain.status).toBe(426);
  const stopping = createServer(routes, authorise, gateway.services);
  const at = await stopping.listen('127.0.0.1', 0);
  const socket = new WebSocket(`ws://127.0.0.1:${at}/deaf`);
  await once(socket, 'open');
  const closed = once(socket, 'close');
  await stopping.stop(1_000);
  expect((await closed)[0]).toBe(1001);
});

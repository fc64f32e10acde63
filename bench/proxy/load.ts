import { once } from 'node:events';
import { type IncomingMessage, request } from 'node:http';
import { createRequire } from 'node:module';
import type WebSocketClass from 'ws';
import type { Way } from './stack.ts';

const WebSocket = createRequire(import.meta.url)('ws') as typeof WebSocketClass;
/** Sockets are opened so many at a time. */
const BATCH = 100;

/** One large body, read as fast as it comes. */
export async function megabytesPerSecond(way: Way, bytes: number): Promise<number> {
  const begun = performance.now();
  const sent = request({
    host: way.address,
    port: way.port,
    path: '/large',
    headers: { host: way.host },
    agent: false,
  });
  sent.end();
  const [response] = (await once(sent, 'response')) as [IncomingMessage];
  let received = 0;
  response.on('data', (chunk: Buffer) => {
    received += chunk.length;
  });
  await once(response, 'end');
  if (received !== bytes) throw new Error(`${way.name}: ${received} bytes of ${bytes}`);
  return bytes / 1_000 / (performance.now() - begun);
}

/** Messages there and back a second: each socket sends the next when its last one has come back. */
export async function socketMessages(way: Way, sockets: number, ms: number): Promise<number> {
  const opened = await open(way, sockets);
  let count = 0;
  let running = true;
  for (const socket of opened) {
    socket.on('message', () => {
      count += 1;
      if (running) socket.send('a message of some length, as chats and kernels send them');
    });
    socket.send('begin');
  }
  await new Promise((resolve) => setTimeout(resolve, ms));
  running = false;
  for (const socket of opened) socket.terminate();
  return (count * 1_000) / ms;
}

/** Opens sockets that stay silent. @returns what closes them. */
export async function openSockets(way: Way, count: number): Promise<() => void> {
  const opened = await open(way, count);
  return () => {
    for (const socket of opened) socket.terminate();
  };
}

async function open(way: Way, count: number): Promise<WebSocketClass[]> {
  const opened: WebSocketClass[] = [];
  while (opened.length < count) {
    const batch = Array.from({ length: Math.min(BATCH, count - opened.length) }, () => {
      const socket = new WebSocket(`ws://${way.address}:${way.socketPort}/socket`, {
        headers: { host: way.socketHost },
      });
      return once(socket, 'open').then(() => socket);
    });
    opened.push(...(await Promise.all(batch)));
  }
  return opened;
}

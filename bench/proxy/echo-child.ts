import { createRequire } from 'node:module';
import type { WebSocketServer as WebSocketServerClass } from 'ws';

/** A WebSocket server that sends back what it gets: `node echo-child.ts <ip> <port>`. */
const { WebSocketServer } = createRequire(import.meta.url)('ws') as { WebSocketServer: typeof WebSocketServerClass };
const [, , host = '', port = ''] = process.argv;
const server = new WebSocketServer({ host, port: Number(port), perMessageDeflate: false }, () => console.log(port));
server.on('connection', (socket) => {
  socket.on('message', (data, isBinary) => socket.send(data, { binary: isBinary }));
  socket.on('error', () => undefined);
});

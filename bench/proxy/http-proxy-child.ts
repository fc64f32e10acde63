import { Agent, createServer } from 'node:http';
import { createRequire } from 'node:module';
import type { AddressInfo } from 'node:net';

/** The `http-proxy` package as its users run it, with keep-alive: `node http-proxy-child.ts <target>` prints its port. */
const httpProxy = createRequire(import.meta.url)('http-proxy') as {
  createProxyServer(options: object): {
    web(request: unknown, response: unknown): void;
    ws(request: unknown, socket: unknown, head: unknown): void;
    on(event: string, listener: (...args: never[]) => void): void;
  };
};
const proxy = httpProxy.createProxyServer({
  target: process.argv[2],
  agent: new Agent({ keepAlive: true }),
  xfwd: true,
});
proxy.on('error', () => undefined);
const server = createServer((request, response) => proxy.web(request, response));
server.on('upgrade', (request, socket, head) => proxy.ws(request, socket, head));
server.listen(0, '127.0.0.1', () => console.log((server.address() as AddressInfo).port));

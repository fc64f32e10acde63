import { chmod, rm } from 'node:fs/promises';
import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http';
import { connectNodeAdapter } from '@connectrpc/connect-node';
import { METRICS_CONTENT_TYPE } from '@wrenn/core';
import { isAuthorized } from './authorize.ts';
import type { ServiceContext } from './context.ts';
import { hostAgentRoutes } from './service.ts';

/** Larger than any message of the service but a file in one piece (service/files.ts). */
const MAX_MESSAGE_BYTES = 80 << 20;
/** Calls that are still under way when the program ends get so long. */
const CLOSE_GRACE_MS = 2_000;

export interface ServiceServerOptions {
  /** Path of the unix socket; the front passes on to it what is not for a guest. */
  readonly socket: string;
  readonly context: ServiceContext;
  /** For Prometheus, as open as `/health`: it names nobody. */
  metrics(): Promise<string>;
  /** What the control plane must show now; null: the host is not registered, nobody is let in. */
  secret(): string | null;
}

/** The Connect service, `GET /health` and `GET /metrics`, on a unix socket behind the front. */
export class ServiceServer {
  readonly #server: Server;
  readonly #stopping = new AbortController();
  readonly #options: ServiceServerOptions;

  constructor(options: ServiceServerOptions) {
    this.#options = options;
    const rpc = connectNodeAdapter({
      routes: hostAgentRoutes(options.context),
      readMaxBytes: MAX_MESSAGE_BYTES,
      shutdownSignal: this.#stopping.signal,
      acceptCompression: [],
    });
    this.#server = createServer((request, response) => {
      if (request.url === '/health') health(response);
      else if (request.url === '/metrics') metrics(response, options);
      else if (!isAuthorized(request, options.secret())) unauthenticated(request, response);
      else rpc(request, response);
    });
    this.#server.requestTimeout = 0; // AG2: an upload of hours is fine
  }

  async listen(): Promise<void> {
    const { socket } = this.#options;
    await rm(socket, { force: true }); // left by an agent that was killed; the journal's lock says that none runs
    const listening = Promise.withResolvers<void>();
    this.#server.once('error', listening.reject).listen(socket, listening.resolve);
    await listening.promise;
    await chmod(socket, 0o600);
  }

  /** Lets calls under way end, for a while. */
  async close(): Promise<void> {
    this.#stopping.abort();
    const closed = new Promise<void>((resolve) => this.#server.close(() => resolve()));
    this.#server.closeIdleConnections();
    const timer = setTimeout(() => this.#server.closeAllConnections(), CLOSE_GRACE_MS);
    await closed;
    clearTimeout(timer);
  }
}

function health(response: ServerResponse): void {
  response.writeHead(200, { 'content-type': 'application/json' }).end('{"status":"ok"}');
}

function metrics(response: ServerResponse, options: ServiceServerOptions): void {
  options.metrics().then(
    (text) => response.writeHead(200, { 'content-type': METRICS_CONTENT_TYPE }).end(text),
    (err) => {
      options.context.log.error({ err }, 'metrics could not be told');
      response.writeHead(500).end();
    },
  );
}

/** In the words of the Connect protocol, so that every client understands it. */
function unauthenticated(request: IncomingMessage, response: ServerResponse): void {
  request.resume();
  const body = JSON.stringify({ code: 'unauthenticated', message: 'this service is for the control plane only' });
  response.writeHead(401, { 'content-type': 'application/json', 'wrenn-error-code': 'unauthorized' }).end(body);
}

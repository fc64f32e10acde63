import { connect, createServer, type Server, type Socket } from 'node:net';

/**
 * A TCP relay in front of a server that can lose connections as networks do: at once, or after the server has done what it
 * was asked and before its answer arrives.
 */
export class CutProxy {
  readonly #server: Server;
  readonly #pairs = new Set<{ client: Socket; server: Socket }>();
  /** While set: called with each piece the client sends; true = the answer to it is never delivered. */
  swallow: ((sent: Buffer) => boolean) | null = null;
  #refuses = false;

  private constructor(server: Server) {
    this.#server = server;
  }

  static async before(target: URL): Promise<CutProxy> {
    const server = createServer();
    const proxy = new CutProxy(server);
    server.on('connection', (client) => proxy.#relay(client, connect(Number(target.port), target.hostname)));
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
    return proxy;
  }

  /** The target's URL as seen through the relay. */
  url(target: string): string {
    const url = new URL(target);
    url.port = String((this.#server.address() as { port: number }).port);
    return url.href;
  }

  /** Cuts all connections; with `refuse` no new ones are taken. */
  cut({ refuse = false } = {}): void {
    this.#refuses = refuse;
    for (const { client, server } of [...this.#pairs]) {
      client.destroy();
      server.destroy();
    }
  }

  async close(): Promise<void> {
    this.cut({ refuse: true });
    await new Promise((resolve) => this.#server.close(resolve));
  }

  #relay(client: Socket, server: Socket): void {
    const pair = { client, server };
    if (this.#refuses) {
      client.destroy();
      server.destroy();
      return;
    }
    this.#pairs.add(pair);
    let swallowing = false;
    client.on('data', (data) => {
      if (this.swallow?.(data)) swallowing = true;
      server.write(data);
    });
    server.on('data', (data) => {
      if (!swallowing) client.write(data);
      else client.destroy(); // the server has answered, so it has done it
    });
    for (const [one, other] of [
      [client, server],
      [server, client],
    ] as const) {
      one.on('error', () => other.destroy());
      one.on('close', () => {
        this.#pairs.delete(pair);
        other.destroy();
      });
    }
  }
}

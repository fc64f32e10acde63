import pg from 'pg';
import type { Logger } from '../log.ts';

const CHANNEL = 'wrenn_runtime';
const RECONNECT_MS = 1_000;

export interface NotifyChannelOptions {
  readonly connection: pg.ClientConfig;
  readonly pool: pg.Pool;
  readonly log: Logger;
}

/** LISTEN on a connection of its own, made again when it breaks; NOTIFY by the pool, never inside a commit (20 to 40 % there). */
export class NotifyChannel {
  readonly #options: NotifyChannelOptions;
  #client: pg.Client | null = null;
  #again: NodeJS.Timeout | undefined;
  #closed = false;

  constructor(options: NotifyChannelOptions) {
    this.#options = options;
  }

  async listen(heard: (message: string) => void): Promise<void> {
    const { connection, log } = this.#options;
    const client = new pg.Client({ ...connection, application_name: 'wrenn pokes', keepAlive: true });
    client.on('error', (err) => log.warn({ err }, 'the connection for pokes broke'));
    client.on('notification', ({ payload }) => heard(payload ?? ''));
    await client.connect();
    await client.query(`listen ${CHANNEL}`);
    this.#client = client;
    client.once('end', () => {
      if (!this.#closed) this.#listenLater(heard);
    });
  }

  async send(message: string): Promise<void> {
    await this.#options.pool.query('select pg_notify($1, $2)', [CHANNEL, message]);
  }

  async close(): Promise<void> {
    this.#closed = true;
    clearTimeout(this.#again);
    await this.#client?.end();
  }

  #listenLater(heard: (message: string) => void): void {
    this.#again = setTimeout(() => {
      this.listen(heard).catch(() => this.#listenLater(heard));
    }, RECONNECT_MS);
  }
}

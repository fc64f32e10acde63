import type { Logger } from '@wrenn/core';
import type { Pool } from 'pg';

/** `last_used_at` of a key may be behind by this much: one statement for all keys instead of a write per request. */
const FLUSH_INTERVAL_MS = 15_000;

/** Remembers which keys were used and writes it down now and then (ID3). */
export class KeyUsage {
  readonly #sql: Pool;
  readonly #log: Logger;
  readonly #timer: NodeJS.Timeout;
  #used = new Map<string, Date>();

  constructor(sql: Pool, log: Logger) {
    this.#sql = sql;
    this.#log = log;
    this.#timer = setInterval(() => void this.flush(), FLUSH_INTERVAL_MS);
    this.#timer.unref();
  }

  used(keyId: string): void {
    this.#used.set(keyId, new Date());
  }

  async flush(): Promise<void> {
    if (this.#used.size === 0) return;
    const batch = this.#used;
    this.#used = new Map();
    try {
      await this.#sql.query(
        `update api_keys k set last_used_at = greatest(k.last_used_at, u.at)
           from unnest($1::text[], $2::timestamptz[]) as u (id, at) where k.id = u.id`,
        [[...batch.keys()], [...batch.values()]],
      );
    } catch (err) {
      this.#log.warn({ err }, 'last use of API keys not written');
      this.#used = new Map([...batch, ...this.#used]);
    }
  }

  async close(): Promise<void> {
    clearInterval(this.#timer);
    await this.flush();
  }
}

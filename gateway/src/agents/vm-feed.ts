import { createHash } from 'node:crypto';
import type { JournalEntry, Logger } from '@wrenn/core';
import type { Redis } from 'ioredis';

type Listener = (entry: JournalEntry) => void;

/**
 * Entries of `vm` actors as they arrive, for live views on any replica: the one that watches a host passes them on by
 * Redis. A hint: what gets lost on the way stands in the journal.
 */
export class VmFeed {
  readonly #redis: Redis;
  readonly #log: Logger;
  readonly #channel: string;
  readonly #listeners = new Set<Listener>();
  #subscriber: Redis | undefined;

  /** Replicas of one database form a group; channels are shared by all databases of a Redis server. */
  constructor(redis: Redis, databaseUrl: string, log: Logger) {
    this.#redis = redis;
    this.#log = log;
    this.#channel = `wrenn:vm-journal:${createHash('sha256').update(databaseUrl).digest('hex').slice(0, 16)}`;
  }

  publish(entry: JournalEntry): void {
    this.#redis
      .publish(this.#channel, JSON.stringify(entry))
      .catch((err) => this.#log.debug({ err }, 'a hint got lost'));
  }

  subscribe(listener: Listener): () => void {
    this.#listeners.add(listener);
    this.#subscriber ??= this.#listen();
    return () => this.#listeners.delete(listener);
  }

  close(): void {
    this.#subscriber?.disconnect();
    this.#listeners.clear();
  }

  #listen(): Redis {
    // Unlike a hint that is sent, a subscription waits for Redis.
    const subscriber = this.#redis.duplicate({
      enableOfflineQueue: true,
      lazyConnect: false,
      maxRetriesPerRequest: null,
    });
    subscriber.on('error', (err) => this.#log.debug({ err }, 'live entries of VMs pause'));
    subscriber.on('message', (_channel: string, text: string) => {
      const entry = JSON.parse(text) as JournalEntry;
      for (const listener of this.#listeners) listener(entry);
    });
    subscriber.subscribe(this.#channel).catch((err) => this.#log.debug({ err }, 'live entries of VMs pause'));
    return subscriber;
  }
}

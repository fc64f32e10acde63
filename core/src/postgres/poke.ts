import type { Logger } from '../log.ts';
import type { NotifyChannel } from './notify-channel.ts';

/** A hint to other replicas to look at the database. Losing one costs time (the safety net looks every second), never truth. */
export interface Poke {
  /** Partitions with new messages in the outbox. */
  readonly partitions?: readonly number[];
  /** Answers were written that somebody may await. */
  readonly answers?: boolean;
  /** The journal has grown. */
  readonly feed?: boolean;
}

/** What of an ioredis client is needed. */
export interface RedisLike {
  publish(channel: string, message: string): Promise<unknown>;
  duplicate(): RedisSubscriber;
}
interface RedisSubscriber {
  subscribe(channel: string): Promise<unknown>;
  on(event: 'message', listener: (channel: string, message: string) => void): unknown;
  on(event: 'error', listener: (error: Error) => void): unknown;
  disconnect(): void;
}

/** Sends pokes to all replicas but this one, coalesced: at most one on its way, the rest gathers meanwhile. */
export class Poker {
  readonly #self: string;
  readonly #log: Logger;
  #transport: { send(message: string): Promise<unknown>; close(): void } | null = null;
  readonly #partitions = new Set<number>();
  #answers = false;
  #feed = false;
  #sending = false;

  constructor(self: string, log: Logger) {
    this.#self = self;
    this.#log = log;
  }

  overRedis(redis: RedisLike, channel: string, heard: (poke: Poke) => void): void {
    const subscriber = redis.duplicate();
    subscriber.on('error', () => undefined); // Redis may be away: the safety net does its work
    subscriber.on('message', (_, message) => this.#hear(message, heard));
    this.#transport = { send: (message) => redis.publish(channel, message), close: () => subscriber.disconnect() };
    subscriber.subscribe(channel).catch((err: unknown) => this.#log.warn({ err }, 'no pokes from Redis'));
  }

  async overNotify(channel: NotifyChannel, heard: (poke: Poke) => void): Promise<void> {
    await channel.listen((message) => this.#hear(message, heard));
    this.#transport = { send: (message) => channel.send(message), close: () => undefined };
  }

  poke({ partitions, answers, feed }: Poke): void {
    for (const partition of partitions ?? []) this.#partitions.add(partition);
    this.#answers ||= answers ?? false;
    this.#feed ||= feed ?? false;
    if (!this.#sending) void this.#send();
  }

  close(): void {
    this.#transport?.close();
    this.#transport = null;
  }

  async #send(): Promise<void> {
    this.#sending = true;
    await new Promise(setImmediate);
    while (this.#transport && (this.#partitions.size > 0 || this.#answers || this.#feed)) {
      const poke: Poke = { partitions: [...this.#partitions], answers: this.#answers, feed: this.#feed };
      this.#partitions.clear();
      this.#answers = false;
      this.#feed = false;
      await this.#transport.send(JSON.stringify({ from: this.#self, ...poke })).catch((err: unknown) => {
        this.#log.debug({ err }, 'a poke was lost');
      });
    }
    this.#sending = false;
  }

  #hear(message: string, heard: (poke: Poke) => void): void {
    try {
      const { from, ...poke } = JSON.parse(message) as Poke & { from: string };
      if (from !== this.#self) heard(poke);
    } catch (err) {
      this.#log.warn({ err }, 'a poke that cannot be read');
    }
  }
}

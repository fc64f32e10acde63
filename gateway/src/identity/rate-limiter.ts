import { WrennError } from '@wrenn/core';
import type { Redis } from 'ioredis';

export interface Limit {
  /** What is counted: `login:mail:…`. */
  readonly key: string;
  readonly max: number;
}

/** Entries of the fallback; beyond it the oldest windows are forgotten. */
const MAX_LOCAL_KEYS = 10_000;

/** Counts and starts the window in one step, so that a counter without an end cannot be left behind. */
const COUNT = `
local n = redis.call('incr', KEYS[1])
if n == 1 then redis.call('pexpire', KEYS[1], ARGV[1]) end
return {n, redis.call('pttl', KEYS[1])}`;

/**
 * Fixed-window counters in Redis, shared by all replicas. While Redis is away each replica counts for itself: limits
 * become looser by the number of replicas, never absent.
 */
export class RateLimiter {
  readonly #redis: Redis;
  readonly #windowMs: number;
  readonly #local = new Map<string, { count: number; endsAt: number }>();

  constructor(redis: Redis, windowMs: number) {
    this.#redis = redis;
    this.#windowMs = windowMs;
  }

  /** Counts one attempt against each limit; throws 429 with the time to wait when one is passed. */
  async take(limits: readonly Limit[]): Promise<void> {
    const states = await Promise.all(limits.map(async (limit) => ({ limit, ...(await this.#count(limit.key)) })));
    const waits = states.filter(({ limit, count }) => count > limit.max).map(({ leftMs }) => leftMs);
    if (waits.length === 0) return;
    const seconds = Math.max(1, Math.ceil(Math.max(...waits) / 1_000));
    throw new WrennError('rate_limited', `Too many attempts. Try again in ${seconds} s.`, {
      details: { retry_after_sec: seconds },
    });
  }

  /** Forgets the attempts, after one that succeeded. */
  async clear(key: string): Promise<void> {
    this.#local.delete(key);
    await this.#redis.del(redisKey(key)).catch(() => undefined);
  }

  async #count(key: string): Promise<{ count: number; leftMs: number }> {
    try {
      const [count, leftMs] = (await this.#redis.eval(COUNT, 1, redisKey(key), this.#windowMs)) as [number, number];
      return { count, leftMs };
    } catch {
      return this.#countLocally(key);
    }
  }

  #countLocally(key: string): { count: number; leftMs: number } {
    const now = performance.now();
    const known = this.#local.get(key);
    const entry = known && known.endsAt > now ? known : { count: 0, endsAt: now + this.#windowMs };
    entry.count += 1;
    this.#local.delete(key);
    this.#local.set(key, entry);
    if (this.#local.size > MAX_LOCAL_KEYS) this.#local.delete(this.#local.keys().next().value as string);
    return { count: entry.count, leftMs: entry.endsAt - now };
  }
}

function redisKey(key: string): string {
  return `wrenn:limit:${key}`;
}

import type { Logger, RedisLike } from '@wrenn/core';
import { Redis } from 'ioredis';

/** Redis serves hints: whoever waits longer than this for one goes on without. */
const COMMAND_TIMEOUT_MS = 1_000;
const MAX_RECONNECT_DELAY_MS = 2_000;

/** A client that fails at once while Redis is away, and comes back by itself. */
export function createRedis(url: string, log: Logger): Redis {
  const redis = new Redis(url, {
    enableOfflineQueue: false,
    maxRetriesPerRequest: 0,
    commandTimeout: COMMAND_TIMEOUT_MS,
    connectTimeout: COMMAND_TIMEOUT_MS,
    lazyConnect: true,
    retryStrategy,
  });
  let away = false;
  redis.on('error', (err) => {
    if (!away) log.warn({ err }, 'Redis is away');
    away = true;
  });
  redis.on('ready', () => {
    if (away) log.info('Redis is back');
    away = false;
  });
  void redis.connect().catch(() => undefined); // reported above
  return redis;
}

/**
 * What the runtime's pokes use: a hint that cannot be sent is lost at once, while the subscription waits for Redis and
 * comes back with it.
 */
export function pokesOver(redis: Redis, url: string): RedisLike {
  return {
    publish: (channel, message) => redis.publish(channel, message),
    duplicate: () => new Redis(url, { maxRetriesPerRequest: null, retryStrategy }),
  };
}

function retryStrategy(attempt: number): number {
  return Math.min(attempt * 100, MAX_RECONNECT_DELAY_MS);
}

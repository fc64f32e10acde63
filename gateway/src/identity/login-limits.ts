import { createHash } from 'node:crypto';
import type { Redis } from 'ioredis';
import { RateLimiter } from './rate-limiter.ts';

const WINDOW_MS = 5 * 60_000;
/** Attempts per window. One address tries one account seldom; an office behind one address signs in often. */
const PER_MAIL_AND_ADDRESS = 10;
const PER_ADDRESS = 200;
/** Guessing spread over many addresses; high, since it also shuts out the owner. */
const PER_MAIL = 100;

/** How often a login may be tried (ID1). */
export class LoginLimits {
  readonly #limiter: RateLimiter;

  constructor(redis: Redis) {
    this.#limiter = new RateLimiter(redis, WINDOW_MS);
  }

  /** Throws `rate_limited`. */
  take(email: string, address: string): Promise<void> {
    const mail = digest(email);
    return this.#limiter.take([
      { key: `login:${mail}:${address}`, max: PER_MAIL_AND_ADDRESS },
      { key: `login:address:${address}`, max: PER_ADDRESS },
      { key: `login:mail:${mail}`, max: PER_MAIL },
    ]);
  }

  succeeded(email: string, address: string): Promise<void> {
    return this.#limiter.clear(`login:${digest(email)}:${address}`);
  }
}

/** Mail addresses are not for Redis. */
function digest(email: string): string {
  return createHash('sha256').update(email.toLowerCase()).digest('hex').slice(0, 32);
}

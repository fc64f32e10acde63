import { randomBytes } from 'node:crypto';
import { WrennError } from '@wrenn/core';
import type { Redis } from 'ioredis';
import { z } from 'zod';
import { sha256 } from '../identity/api-key.ts';

/** H1: a token is good for one registration within this time. */
export const REGISTRATION_TOKEN_SECONDS = 3_600;

/** 64 hex digits. */
export const REGISTRATION_TOKEN = /^[0-9a-f]{64}$/;

/** Puts the new token in and the host's earlier one out, in one step. */
const ISSUE = `
local earlier = redis.call('get', KEYS[2])
if earlier then redis.call('del', earlier) end
redis.call('set', KEYS[1], ARGV[1], 'EX', ARGV[2])
redis.call('set', KEYS[2], KEYS[1], 'EX', ARGV[2])
return 1`;

/**
 * The host that a token is for, as `<host>` before it was used and `<host> <digest of the user's key>` after. Of two that
 * race exactly one is given the host, or both where they have the same key.
 */
const USE = `
local found = redis.call('get', KEYS[1])
if not found then return false end
local host, user = found:match('^(%S+) ?(%S*)$')
if user ~= '' then return user == ARGV[1] and host end
if ARGV[1] == '' then redis.call('del', KEYS[1])
else redis.call('set', KEYS[1], host .. ' ' .. ARGV[1], 'KEEPTTL') end
return host`;

/** One-time registration tokens. They live in Redis only: losing them loses nothing, a new one is made. */
export class RegistrationTokens {
  readonly #redis: Redis;

  constructor(redis: Redis) {
    this.#redis = redis;
  }

  /** A new token; the one that the host had before is no longer good. */
  async issue(hostId: string): Promise<string> {
    const token = randomBytes(32).toString('hex');
    const keys = [tokenKey(token), `wrenn:registration-of:${hostId}`] as const;
    await available(this.#redis.eval(ISSUE, 2, ...keys, hostId, REGISTRATION_TOKEN_SECONDS));
    return token;
  }

  /**
   * The host that the token is for, or null. `key`: by it the same user may use the token again, while it would have been
   * good; null: the token is used up.
   */
  async use(token: string, key: string | null): Promise<string | null> {
    const user = key === null ? '' : sha256(key).toString('hex');
    return z
      .string()
      .nullable()
      .parse(await available(this.#redis.eval(USE, 1, tokenKey(token), user)));
  }

  /** After a registration without a key that failed on our side: the token may be tried again. */
  async putBack(token: string, hostId: string): Promise<void> {
    await this.#redis.set(tokenKey(token), hostId, 'EX', REGISTRATION_TOKEN_SECONDS).catch(() => undefined);
  }
}

function tokenKey(token: string): string {
  return `wrenn:registration:${sha256(token).toString('hex')}`;
}

async function available<T>(reply: Promise<T>): Promise<T> {
  try {
    return await reply;
  } catch (cause) {
    throw new WrennError('unavailable', 'Registration tokens cannot be had at the moment. Try again.', { cause });
  }
}

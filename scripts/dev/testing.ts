import { Redis as RedisClient } from 'ioredis';
import { inject } from 'vitest';
import './global-setup.ts'; // declares what is provided
import { cloneDatabase, type DatabaseTemplate, type TestDatabase } from './test-database.ts';

/** What test files import: a real PostgreSQL database and a real Redis database of their own. */

/** A fresh database for this test file, cloned from the template. Drop it in `afterAll`. */
export function testDatabase(template: DatabaseTemplate = EMPTY): Promise<TestDatabase> {
  return cloneDatabase(inject('postgresUrl'), template);
}

/**
 * URL of an empty Redis database for this test file. Channels of PUBLISH are shared by all databases of a server:
 * prefix their names.
 */
export async function testRedisUrl(): Promise<string> {
  const url = inject('redisUrl');
  const client = new RedisClient(url, { maxRetriesPerRequest: 1 });
  try {
    const number = await client.incr('wrenn:test:databases');
    return new URL(`/${number}`, url).href;
  } finally {
    client.disconnect();
  }
}

const EMPTY: DatabaseTemplate = { key: 'empty', prepare: () => Promise.resolve() };

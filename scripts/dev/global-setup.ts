import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { TestProject } from 'vitest/node';
import { startPostgres } from './postgres.ts';
import { startRedis } from './redis.ts';

declare module 'vitest' {
  interface ProvidedContext {
    /** URL of the run's PostgreSQL, database `postgres`. */
    postgresUrl: string;
    /** URL of the run's Redis, database 0: taken by the helpers, tests use the ones they are given. */
    redisUrl: string;
  }
}

/** vitest's global setup: one PostgreSQL and one Redis for the whole run, in a folder that goes with it. */
export async function setup(project: TestProject): Promise<() => Promise<void>> {
  const dir = mkdtempSync(join(tmpdir(), 'wrenn-test-'));
  const postgres = await startPostgres({ dir: join(dir, 'postgres'), fsync: false, tied: true });
  const redis = await startRedis({ dir: join(dir, 'redis'), persist: false, tied: true });
  project.provide('postgresUrl', postgres.url('postgres'));
  project.provide('redisUrl', redis.url());
  return async () => {
    await Promise.all([postgres.stop(), redis.stop()]);
    rmSync(dir, { recursive: true, force: true });
  };
}

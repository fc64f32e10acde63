import type { Logger, PostgresRuntime } from '@wrenn/core';
import type { Redis } from 'ioredis';
import type { Pool } from 'pg';
import type { Config } from './config.ts';

/** What routes and effect handlers work with. Made and closed by `main.ts`. */
export interface Services {
  readonly config: Config;
  readonly log: Logger;
  /** For queries of the API; commits of actors have connections of their own. */
  readonly sql: Pool;
  /** May be away: nothing here may fail for good without it. */
  readonly redis: Redis;
  readonly runtime: PostgresRuntime;
}

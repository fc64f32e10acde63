import type { Logger } from '@wrenn/core';
import pg from 'pg';

/** A query of the API that takes longer is a fault, not work. */
const STATEMENT_TIMEOUT_MS = 15_000;
const MAX_CONNECTIONS = 20;

/** The pool of the API's queries. Actors' commits have connections of their own. */
export function createSqlPool(url: string, log: Logger): pg.Pool {
  const pool = new pg.Pool({
    connectionString: url,
    max: MAX_CONNECTIONS,
    connectionTimeoutMillis: 5_000,
    idleTimeoutMillis: 30_000,
    statement_timeout: STATEMENT_TIMEOUT_MS,
    application_name: 'wrenn-cp',
  });
  pool.on('error', (err) => log.warn({ err }, 'idle PostgreSQL connection lost')); // the pool makes another
  return pool;
}

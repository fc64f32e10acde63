import { type Logger, WrennError } from '@wrenn/core';
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
  // One that is in use, between two queries of a transaction, has nobody who hears: its next query says so.
  pool.on('connect', (client) => client.on('error', () => undefined));
  const [query, connect] = [pool.query.bind(pool), pool.connect.bind(pool)] as Promised[];
  Object.assign(pool, { query: saysAway(query as Promised), connect: saysAway(connect as Promised) });
  return pool;
}

type Promised = (...args: unknown[]) => Promise<unknown>;

/** While PostgreSQL restarts a request is told 503, not that we have a fault. */
function saysAway(call: Promised): Promised {
  return async (...args) => {
    try {
      return await call(...args);
    } catch (error) {
      throw asAway(error);
    }
  };
}

/** `unavailable` for what the driver threw because the connection is gone; any other error as it is. */
export function asAway(error: unknown): unknown {
  if (error instanceof WrennError || error instanceof TypeError || error instanceof RangeError) return error;
  const { code = '' } = error instanceof pg.DatabaseError ? error : { code: CONNECTION_FAILURE };
  if (!AWAY_CLASSES.some((start) => code.startsWith(start))) return error;
  return new WrennError('unavailable', 'The database is away for a moment. Try again.', { cause: error });
}

/** SQLSTATE classes: connection exceptions, shutdown and start of the server, no connection left. */
const AWAY_CLASSES = ['08', '57P', '53300'];
/** Everything that the driver throws and the server did not say is about the connection. */
const CONNECTION_FAILURE = '08006';

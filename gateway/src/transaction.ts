import type { Pool, PoolClient } from 'pg';
import { asAway } from './sql-pool.ts';

/** Runs `work` in one transaction: commits what it did, or nothing when it throws. */
export async function inTransaction<T>(sql: Pool, work: (tx: PoolClient) => Promise<T>): Promise<T> {
  const client = await sql.connect();
  let broken: Error | undefined;
  try {
    await client.query('begin');
    const result = await work(client);
    await client.query('commit');
    return result;
  } catch (error) {
    await client.query('rollback').catch((cause: Error) => {
      broken = cause;
    });
    throw broken ? asAway(error) : error;
  } finally {
    client.release(broken); // a connection that cannot roll back is not given to others
  }
}

/** The unique constraint or index that a statement ran into; null for any other error. */
export function violatedUnique(error: unknown): string | null {
  const { code, constraint } = (error ?? {}) as { code?: unknown; constraint?: unknown };
  const UNIQUE_VIOLATION = '23505';
  return code === UNIQUE_VIOLATION && typeof constraint === 'string' ? constraint : null;
}

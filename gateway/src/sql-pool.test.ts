import { silentLog } from '@wrenn/core';
import type pg from 'pg';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { testDatabase } from '../../scripts/dev/testing.ts';
import { createSqlPool } from './sql-pool.ts';
import { inTransaction } from './transaction.ts';

let database: Awaited<ReturnType<typeof testDatabase>>;
let sql: pg.Pool;

beforeAll(async () => {
  database = await testDatabase({ key: 'empty', prepare: async () => undefined });
  sql = createSqlPool(database.url, silentLog);
});
afterAll(async () => {
  await sql?.end();
  await database?.drop();
});

test('a connection that ends between two statements of a transaction is 503 for its request, and nothing else', async () => {
  const work = inTransaction(sql, async (tx) => {
    const { rows } = await tx.query<{ pid: number }>('select pg_backend_pid() as pid');
    const ended = new Promise((resolve) => tx.once('end', resolve));
    await sql.query('select pg_terminate_backend($1)', [rows[0]?.pid]);
    await ended;
    await tx.query('select 1');
  });
  await expect(work).rejects.toMatchObject({ code: 'unavailable' });
  expect((await sql.query('select 1 as one')).rows).toEqual([{ one: 1 }]);
});

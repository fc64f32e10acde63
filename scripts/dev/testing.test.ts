import { Redis as RedisClient } from 'ioredis';
import pg from 'pg';
import { expect, test } from 'vitest';
import { testDatabase, testRedisUrl } from './testing.ts';

test('a template is prepared once and each clone is its own', async () => {
  let prepared = 0;
  const template = {
    key: `testing.test ${process.pid}`,
    prepare: async (url: string) => {
      prepared += 1;
      await query(url, 'create table birds (name text); insert into birds values ($$wren$$)');
    },
  };
  const [a, b] = await Promise.all([testDatabase(template), testDatabase(template)]);
  try {
    expect(prepared).toBe(1);
    await query(a.url, 'insert into birds values ($$robin$$)');
    expect((await query(a.url, 'select name from birds')).rows).toHaveLength(2);
    expect((await query(b.url, 'select name from birds')).rows).toEqual([{ name: 'wren' }]);
  } finally {
    await Promise.all([a.drop(), b.drop()]);
  }
});

test('each Redis database is empty and apart', async () => {
  const [first, second] = await Promise.all([testRedisUrl(), testRedisUrl()]);
  expect(first).not.toBe(second);
  const a = new RedisClient(first);
  const b = new RedisClient(second);
  try {
    await a.set('bird', 'wren');
    expect(await b.get('bird')).toBeNull();
  } finally {
    a.disconnect();
    b.disconnect();
  }
});

async function query(url: string, sql: string): Promise<pg.QueryResult> {
  const client = new pg.Client({ connectionString: url });
  await client.connect();
  try {
    return await client.query(sql);
  } finally {
    await client.end();
  }
}

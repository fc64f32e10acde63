import { type JournalEntry, migrate, migrationsKey, silentLog } from '@wrenn/core';
import type pg from 'pg';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { testDatabase } from '../../../scripts/dev/testing.ts';
import { createSqlPool } from '../sql-pool.ts';
import { mirrorEntry } from './vm-mirror.ts';

let database: Awaited<ReturnType<typeof testDatabase>>;
let sql: pg.Pool;

beforeAll(async () => {
  database = await testDatabase({ key: migrationsKey(), prepare: async (url) => void (await migrate(url)) });
  sql = createSqlPool(database.url, silentLog);
});
afterAll(async () => {
  await sql?.end();
  await database?.drop();
});

test('API11: a VM that is gone, or that a sandbox has taken over, is done: it is not counted, and its copy ends with its time', async () => {
  const lives = { 'sba.1': ['queued', 'ready'], 'sbb.1': ['ready', 'gone'], 'warm.1': ['parked', 'claimed'] };
  for (const [id, paths] of Object.entries(lives)) {
    for (const [index, path] of paths.entries()) {
      const entry = { id, kind: 'vm', seq: index + 1, at: Date.now(), path, to: path, diff: [], machineVersion: 1 };
      expect(await mirrorEntry(sql, 'host-1', { teamId: null, ...entry } as unknown as JournalEntry)).toBe(true);
    }
  }
  const { rows } = await sql.query('select id, path, done from vm_mirrors order by id');
  expect(rows).toEqual([
    { id: 'sba.1', path: 'ready', done: false },
    { id: 'sbb.1', path: 'gone', done: true },
    { id: 'warm.1', path: 'claimed', done: true },
  ]);
});

import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, test } from 'vitest';
import type { TestDatabase } from '../../scripts/dev/test-database.ts';
import { testDatabase } from '../../scripts/dev/testing.ts';
import { migrate } from './migrate.ts';
import { rowsOf } from './testing/database.ts';

let database: TestDatabase;
let dir: string;
beforeAll(async () => {
  database = await testDatabase();
  dir = await mkdtemp(join(tmpdir(), 'wrenn-migrations-'));
});
afterAll(async () => {
  await database.drop();
  await rm(dir, { recursive: true, force: true });
});
const put = (name: string, sql: string) => writeFile(join(dir, name), sql);

test('migrations run once, in their order, however many replicas start together', async () => {
  await put('0001_birds.sql', 'create table birds (name text)');
  await put('0002_wren.sql', "insert into birds values ('wren')");
  const runs = await Promise.all([migrate(database.url, dir), migrate(database.url, dir), migrate(database.url, dir)]);
  expect(runs.flat()).toEqual(['0001_birds', '0002_wren']);
  expect(await rowsOf(database.url, 'select * from birds')).toEqual([{ name: 'wren' }]);
});

test('one that fails leaves nothing and stops those behind it', async () => {
  await put('0003_half.sql', "insert into birds values ('half'); select 1 / 0");
  await put('0004_after.sql', "insert into birds values ('after')");
  await expect(migrate(database.url, dir)).rejects.toThrow('0003_half failed: division by zero');
  expect(await rowsOf(database.url, 'select * from birds')).toHaveLength(1);
  await put('0003_half.sql', 'select 1');
  expect(await migrate(database.url, dir)).toEqual(['0003_half', '0004_after']);
});

test('one that was changed or lost after it was run stops the start', async () => {
  await put('0001_birds.sql', 'create table birds (name text not null)');
  await expect(migrate(database.url, dir)).rejects.toThrow('0001_birds was changed');
  await rm(join(dir, '0001_birds.sql'));
  await expect(migrate(database.url, dir)).rejects.toThrow('its file is gone');
});

import { migrate, migrationsKey, silentLog } from '@wrenn/core';
import type pg from 'pg';
import { afterAll, beforeAll, beforeEach, expect, test } from 'vitest';
import { testDatabase } from '../../../scripts/dev/testing.ts';
import { createSqlPool } from '../sql-pool.ts';
import { pruneTeamSamples, sampleTeams } from './team-sample.ts';
import { readTeamStats } from './team-stats.ts';

let database: Awaited<ReturnType<typeof testDatabase>>;
let sql: pg.Pool;

beforeAll(async () => {
  database = await testDatabase({ key: migrationsKey(), prepare: async (url) => void (await migrate(url)) });
  sql = createSqlPool(database.url, silentLog);
});
beforeEach(async () => {
  await sql.query('truncate sandboxes, team_metrics');
});
afterAll(async () => {
  await sql?.end();
  await database?.drop();
});

let count = 0;
async function sandbox(teamId: string, status: string, vcpus: number, memoryMb: number): Promise<string> {
  count += 1;
  const id = `sb${count}`;
  await sql.query(
    `insert into sandboxes (id, team_id, status, status_since, template, vcpus, memory_mb, disk_size_mb, timeout_sec,
       on_timeout, access_token, traffic_token, created_by, created_at, seq)
     values ($1, $2, $3, now(), 'minimal', $4, $5, 1, 0, 'pause', '', '', 'test', now(), 1)`,
    [id, teamId, status, vcpus, memoryMb],
  );
  return id;
}

/** Samples of the past, by their age in seconds. */
async function past(teamId: string, samples: Readonly<Record<number, readonly [number, number, number]>>) {
  for (const [age, [running, vcpus, memoryMb]] of Object.entries(samples)) {
    await sql.query(`insert into team_metrics values (now() - $1 * interval '1 second', $2, $3, $4, $5)`, [
      Number(age),
      ...[teamId, running, vcpus, memoryMb],
    ]);
  }
}

const samples = async () =>
  (await sql.query('select team_id, running, vcpus, memory_mb from team_metrics order by at, team_id')).rows;

test('MET1: running and working sandboxes count in full, each paused one half rounded up, ended ones not', async () => {
  await sandbox('a', 'running', 2, 512);
  await sandbox('a', 'running', 1, 256);
  await sandbox('a', 'starting', 1, 100);
  await sandbox('a', 'paused', 3, 257);
  await sandbox('a', 'paused', 1, 129);
  await sandbox('a', 'stopped', 8, 8_192);
  await sandbox('a', 'error', 8, 8_192);
  await sandbox('a', 'pending', 8, 8_192);
  await sandbox('b', 'running', 4, 1_000);
  expect(await sampleTeams(sql)).toBe(true);
  const a = { running: 2, vcpus: 2 + 1 + 1 + 2 + 1, memory_mb: 512 + 256 + 100 + 129 + 65 };
  expect(await samples()).toEqual([
    { team_id: 'a', ...a },
    { team_id: 'b', running: 1, vcpus: 4, memory_mb: 1_000 },
  ]);
  const stats = await readTeamStats(sql, 'a', '5m');
  expect(stats).toMatchObject({ range: '5m', bucket_sec: 3, current: a, peaks_30d: a });
  expect(stats.series.at(-1)).toMatchObject(a);
});

test('MET1: of replicas that sample at once one does, and nothing is written twice', async () => {
  await sandbox('a', 'running', 1, 1);
  await Promise.all(Array.from({ length: 8 }, () => sampleTeams(sql)));
  const { rows } = await sql.query<{ at: Date; rows: string }>(
    'select at, count(*) as rows from team_metrics group by at',
  );
  expect(rows.every((row) => Number(row.rows) === 1 && row.at.getTime() % 10_000 === 0)).toBe(true);
  const holder = await sql.connect(); // another replica is at it
  try {
    await holder.query('begin');
    expect(await sampleTeams(holder)).toBe(true);
    expect(await sampleTeams(sql)).toBe(false);
  } finally {
    await holder.query('rollback');
    holder.release();
  }
});

test('MET1: a team whose last sandbox ended is told zero once, and then nothing', async () => {
  await past('a', { 20: [1, 1, 1] });
  expect(await sampleTeams(sql)).toBe(true);
  const zero = { team_id: 'a', running: 0, vcpus: 0, memory_mb: 0 };
  expect((await samples()).slice(1)).toEqual([zero]);
  await sql.query(`update team_metrics set at = at - interval '10 seconds'`);
  await sampleTeams(sql);
  expect((await samples()).slice(1)).toEqual([zero]);
});

test.each([
  ['5m', 3, 100],
  ['1h', 30, 120],
  ['6h', 180, 120],
  ['24h', 720, 120],
  ['30d', 21_600, 120],
] as const)('MET1: %s in buckets of %i s: %i of them, whole and in order', async (range, bucket, buckets) => {
  const { series, bucket_sec } = await readTeamStats(sql, 'nobody', range);
  expect(bucket_sec).toBe(bucket);
  expect(series.length).toBe(buckets);
  const ats = series.map(({ at }) => Date.parse(at));
  expect(ats.every((at, index) => at % (bucket * 1_000) === 0 && at === (ats[0] ?? 0) + index * bucket * 1_000)).toBe(
    true,
  );
  expect(series.every(({ running, vcpus, memory_mb }) => running + vcpus + memory_mb === 0)).toBe(true);
});

test('MET1: a bucket has the maximum of its samples; one without repeats the last, for 30 s; peaks are of 30 days', async () => {
  const day = 86_400;
  await past('a', { [31 * day]: [900, 900, 900], [20 * day]: [7, 1, 50], [2 * day]: [1, 30, 9] });
  // Within one bucket of 720 s, well inside it.
  const { rows } = await sql.query<{ age: string }>(
    `select extract(epoch from now() - date_bin('720 seconds', now(), 'epoch')) + 400 as age`,
  );
  const age = Number(rows[0]?.age);
  await past('a', { [age]: [1, 9, 2], [age - 10]: [5, 3, 1], [age - 20]: [2, 2, 8] });
  const stats = await readTeamStats(sql, 'a', '24h');
  expect(stats.peaks_30d).toEqual({ running: 7, vcpus: 30, memory_mb: 50 });
  const used = stats.series.filter(({ running }) => running > 0);
  expect(used).toMatchObject([{ running: 5, vcpus: 9, memory_mb: 8 }]);

  await sql.query('truncate team_metrics');
  await past('a', { 100: [3, 3, 3] });
  const fine = await readTeamStats(sql, 'a', '5m');
  const carried = fine.series.filter(({ running }) => running === 3).length;
  expect(carried).toBeGreaterThanOrEqual(9); // 30 s of 3 s each, the bucket of the sample among them
  expect(carried).toBeLessThanOrEqual(11);
  expect((await readTeamStats(sql, 'b', '5m')).series.every(({ running }) => running === 0)).toBe(true);
});

test('MET1: samples are kept for 60 days', async () => {
  await past('a', { [59 * 86_400]: [1, 1, 1], [61 * 86_400]: [2, 2, 2] });
  await pruneTeamSamples(sql);
  expect((await samples()).map(({ running }) => running)).toEqual([1]);
});

import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { chmodSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import pg from 'pg';
import { afterAll, expect, onTestFinished, test } from 'vitest';
import { isAlive } from '../lib/process-record.ts';
import { ensureDatabase, startPostgres } from './postgres.ts';

const closed = mkdtempSync(join(tmpdir(), 'wrenn-closed-'));
chmodSync(closed, 0o700); // as /root is: nobody may enter
afterAll(() => rmSync(closed, { recursive: true }));

test('PostgreSQL runs below a folder that only root may enter, and keeps its data over a kill', async () => {
  const dir = join(closed, 'postgres');
  const first = await startPostgres({ dir, tied: true });
  expect(await ensureDatabase(first, 'birds')).toBe(true);
  expect(await ensureDatabase(first, 'birds')).toBe(false);
  await query(first.url('birds'), 'create table seen (name text)');
  await first.kill();
  expect(isAlive(first)).toBe(false);
  await leaveToZombie(join(dir, 'data/postmaster.pid'), join(dir, `.s.PGSQL.${first.port}.lock`));
  const second = await startPostgres({ dir, port: first.port, tied: true });
  try {
    expect((await query(second.url('birds'), 'select * from seen')).rows).toEqual([]);
    await expect(query(second.url('birds').replace(/wrenn:[^@]*@/, 'wrenn:wrong@'), 'select 1')).rejects.toThrow(
      /password/,
    );
  } finally {
    await second.stop();
  }
  expect(isAlive(second)).toBe(false);
});

/** As where nobody reaps the killed server: its lock files name a process that is dead and still there. */
async function leaveToZombie(...locks: string[]): Promise<void> {
  const parent = spawn('sh', ['-c', 'sleep 0 & echo $!; exec sleep 60'], { stdio: ['ignore', 'pipe', 'ignore'] });
  onTestFinished(() => void parent.kill());
  const [pid] = await once(parent.stdout.setEncoding('utf8'), 'data');
  await expect.poll(() => readFileSync(`/proc/${Number(pid)}/stat`, 'utf8')).toContain(') Z ');
  for (const lock of locks) writeFileSync(lock, readFileSync(lock, 'utf8').replace(/^\d+/, `${Number(pid)}`));
}

async function query(url: string, sql: string): Promise<pg.QueryResult> {
  const client = new pg.Client({ connectionString: url });
  await client.connect();
  try {
    return await client.query(sql);
  } finally {
    await client.end();
  }
}

import { createHash } from 'node:crypto';
import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import pg from 'pg';

export interface Migration {
  readonly number: number;
  readonly name: string;
  readonly sql: string;
  /** SHA-256 of the file. */
  readonly checksum: string;
}

/** A migration that was run is gone or was changed, or two have one number. */
export class MigrationError extends Error {
  override readonly name = 'MigrationError';
}

/** The project's own folder. */
export const MIGRATIONS_DIR = join(import.meta.dirname, '../../migrations');

/** Any constant: one migrating process at a time per database. */
const MIGRATION_LOCK = 0x77_72_65_6e;

/** Migrations of a folder (`NNNN_name.sql`) in their order. */
export function readMigrations(dir: string = MIGRATIONS_DIR): Migration[] {
  const migrations = readdirSync(dir)
    .filter((file) => /^\d{4}_\w+\.sql$/.test(file))
    .sort()
    .map((file) => {
      const sql = readFileSync(join(dir, file), 'utf8');
      const checksum = createHash('sha256').update(sql).digest('hex');
      return { number: Number(file.slice(0, 4)), name: file.slice(0, -4), sql, checksum };
    });
  for (const [index, { number, name }] of migrations.entries()) {
    if (number === migrations[index - 1]?.number) throw new MigrationError(`two migrations have the number of ${name}`);
  }
  return migrations;
}

/** Digest of a folder's migrations: the key of a test database's template. */
export function migrationsKey(dir: string = MIGRATIONS_DIR): string {
  return readMigrations(dir)
    .map(({ checksum }) => checksum)
    .join(' ');
}

/**
 * Brings a database up to date: forward only, each migration in a transaction of its own, under an advisory lock, so that
 * replicas that start together do not meet.
 * @returns the names of those that were run now.
 */
export async function migrate(url: string, dir: string = MIGRATIONS_DIR): Promise<string[]> {
  const migrations = readMigrations(dir);
  const client = new pg.Client({ connectionString: url });
  client.on('error', () => undefined); // the query that is running reports it
  await client.connect();
  try {
    await client.query('select pg_advisory_lock($1)', [MIGRATION_LOCK]);
    await client.query(
      `create table if not exists migrations (
         number int primary key, name text not null, checksum text not null, run_at timestamptz not null default now())`,
    );
    const { rows } = await client.query<{ number: number; name: string; checksum: string }>(
      'select number, name, checksum from migrations order by number',
    );
    checkHistory(migrations, rows);
    const run = new Set(rows.map(({ number }) => number));
    const missing = migrations.filter(({ number }) => !run.has(number));
    for (const migration of missing) await runMigration(client, migration);
    return missing.map(({ name }) => name);
  } finally {
    await client.end();
  }
}

async function runMigration(client: pg.Client, { number, name, sql, checksum }: Migration): Promise<void> {
  await client.query('begin');
  try {
    await client.query(sql);
    await client.query('insert into migrations (number, name, checksum) values ($1, $2, $3)', [number, name, checksum]);
    await client.query('commit');
  } catch (cause) {
    await client.query('rollback');
    throw new MigrationError(`migration ${name} failed: ${(cause as Error).message}`, { cause });
  }
}

function checkHistory(
  migrations: readonly Migration[],
  run: readonly { number: number; name: string; checksum: string }[],
) {
  const files = new Map(migrations.map((migration) => [migration.number, migration]));
  for (const { number, name, checksum } of run) {
    const file = files.get(number);
    if (!file) throw new MigrationError(`migration ${name} was run here, but its file is gone (an older program?)`);
    if (file.checksum !== checksum) throw new MigrationError(`migration ${name} was changed after it was run`);
  }
}

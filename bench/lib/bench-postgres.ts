import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { migrate } from '@wrenn/core';
import pg from 'pg';
import { ensureDatabase, startPostgres } from '../../scripts/dev/postgres.ts';

interface DatabaseOptions {
  /** Default true. */
  readonly migrated?: boolean;
  readonly sql?: string;
  /** Over loopback instead of the Unix socket: for peers that know no sockets, and then for all that are compared. */
  readonly tcp?: boolean;
}

export interface BenchPostgres {
  /** A fresh database; with the migrations unless it is for somebody else's tables. */
  database(name: string, options?: DatabaseOptions): Promise<string>;
  stop(): Promise<void>;
}

/** A PostgreSQL of its own with fsync on, as in production; gone with its folder at the end. */
export async function benchPostgres(): Promise<BenchPostgres> {
  const dir = mkdtempSync(join(tmpdir(), 'wrenn-bench-'));
  const postgres = await startPostgres({ dir: join(dir, 'postgres'), fsync: true, tied: true });
  return {
    async database(name, { migrated = true, sql, tcp = false } = {}) {
      await ensureDatabase(postgres, name);
      const url = tcp ? postgres.url(name) : overSocket(postgres.url(name), postgres.dir);
      if (migrated) await migrate(url);
      if (sql) await run(url, sql);
      return url;
    },
    async stop() {
      await postgres.stop();
      rmSync(dir, { recursive: true, force: true });
    },
  };
}

/** The Unix socket in the server's folder: what a control plane beside its database uses. */
function overSocket(url: string, dir: string): string {
  const { username, password, port, pathname } = new URL(url);
  return `postgres://${username}:${password}@/${pathname.slice(1)}?host=${encodeURIComponent(dir)}&port=${port}`;
}

export async function run(url: string, sql: string): Promise<void> {
  const client = new pg.Client({ connectionString: url });
  await client.connect();
  try {
    await client.query(sql);
  } finally {
    await client.end();
  }
}

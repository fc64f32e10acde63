import pg from 'pg';
import type { TestDatabase } from '../../../scripts/dev/test-database.ts';
import { testDatabase } from '../../../scripts/dev/testing.ts';
import { migrate, migrationsKey } from '../migrate.ts';
import { PARCELS_SQL } from './parcel.ts';

/** A database with the migrations and the table of the test machine. */
export function runtimeDatabase(): Promise<TestDatabase> {
  return testDatabase({
    key: `core ${migrationsKey()} ${PARCELS_SQL}`,
    prepare: async (url) => {
      await migrate(url);
      await rowsOf(url, PARCELS_SQL);
    },
  });
}

export async function rowsOf<Row extends object>(url: string, text: string, values: unknown[] = []): Promise<Row[]> {
  const client = new pg.Client({ connectionString: url });
  await client.connect();
  try {
    return (await client.query<Row>(text, values)).rows;
  } finally {
    await client.end();
  }
}

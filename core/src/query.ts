import { z } from 'zod';

/** What of a `pg` pool, client or `Transaction` a query needs. */
export interface Queryable {
  query(text: string, values?: unknown[]): Promise<{ rows: unknown[] }>;
}

/** Runs one statement and checks each row at the edge: what the schema does not know is dropped, what it misses throws. */
export async function query<Row extends z.ZodType>(
  on: Queryable,
  row: Row,
  text: string,
  values: readonly unknown[] = [],
): Promise<z.output<Row>[]> {
  const { rows } = await on.query(text, values as unknown[]);
  return z.array(row).parse(rows);
}

/** As `query`, for at most one row; null when there is none. */
export async function queryOne<Row extends z.ZodType>(
  on: Queryable,
  row: Row,
  text: string,
  values: readonly unknown[] = [],
): Promise<z.output<Row> | null> {
  const { rows } = await on.query(text, values as unknown[]);
  return rows.length === 0 ? null : row.parse(rows[0]);
}

import { badRequest } from './problems.ts';

/** The sort key of the last row of a page, as an opaque text. */
export function encodeCursor(key: readonly string[]): string {
  return Buffer.from(JSON.stringify(key)).toString('base64url');
}

/** Null for no cursor; anything that was not made by `encodeCursor` with as many parts is 400. */
export function decodeCursor<const Parts extends number>(
  cursor: string | undefined,
  parts: Parts,
): (string[] & { readonly length: Parts }) | null {
  if (cursor === undefined) return null;
  try {
    const key: unknown = JSON.parse(Buffer.from(cursor, 'base64url').toString('utf8'));
    if (
      Array.isArray(key) &&
      key.length === parts &&
      key.every((part) => typeof part === 'string' && !part.includes('\0'))
    ) {
      return key as string[] & { readonly length: Parts };
    }
  } catch {
    // falls through
  }
  throw badRequest('cursor: not one that was given out');
}

/** Rows were asked for with one more than `limit`: cuts that one off and makes the cursor from the last that stays. */
export function toPage<Row, Item>(
  rows: readonly Row[],
  limit: number,
  item: (row: Row) => Item,
  key: (row: Row) => readonly string[],
): { items: Item[]; next_cursor: string | null } {
  const shown = rows.slice(0, limit);
  const last = shown.at(-1);
  const more = rows.length > limit && last !== undefined;
  return { items: shown.map(item), next_cursor: more ? encodeCursor(key(last)) : null };
}

import { z } from 'zod';
import 'zod-openapi';
import { type IdPrefix, idPattern } from '../identity/ids.ts';

/** RFC 3339, UTC. */
export const timestamp = z.iso.datetime().meta({ examples: ['2026-01-31T12:00:00.000Z'] });

/** An id of spec §0; a malformed one is 400. */
export function id(prefix: IdPrefix) {
  return z.string().regex(idPattern(prefix), `must be an id like ${prefix}-…`);
}

/** Text for a database column or a name: PostgreSQL has no NUL, and people no control characters in names. */
export function line(max: number, min = 1) {
  return z
    .string()
    .min(min)
    .max(max)
    .regex(/^[^\p{Cc}]*$/u, 'must not have control characters');
}

/** A query parameter that is repeated or comma-joined (`?status=running,paused`). */
export function list<Item extends z.ZodType<unknown, string>>(item: Item) {
  return z
    .union([z.string(), z.array(z.string())])
    .transform((value) => [value].flat().flatMap((part) => part.split(',')))
    .pipe(z.array(item))
    .meta({ override: { type: 'array', items: { type: 'string' } } });
}

export const MAX_PAGE = 200;

/** Query parameters of a paginated list. */
export const pageQuery = {
  limit: z.coerce
    .number()
    .int()
    .min(1)
    .max(MAX_PAGE)
    .default(50)
    .meta({ description: `Rows, at most ${MAX_PAGE}` }),
  cursor: z.string().max(1_000).optional().meta({ description: '`next_cursor` of the page before' }),
};

/** A page of a list; `next_cursor` is null on the last one. */
export function page<Item extends z.ZodType>(item: Item) {
  return z.object({ items: z.array(item), next_cursor: z.string().nullable() });
}

export const errorBody = z
  .object({
    error: z.object({
      code: z.string().meta({ examples: ['not_found'] }),
      message: z.string(),
      details: z.record(z.string(), z.unknown()),
    }),
  })
  .meta({ id: 'Error' });

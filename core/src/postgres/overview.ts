import type pg from 'pg';
import type { ActorView } from '../definition.ts';
import type { PostgresRuntime } from '../runtime.ts';
import type { ActorRow } from '../step/stored-actor.ts';
import { ACTOR_COLUMNS, type Raw, toActorRow } from './rows.ts';

/** A deadline is overdue, not only about to fire. */
const OVERDUE_MS = 5_000;
const PAGE = 50;
const LONGEST_PAGE = 200;

type Filter = Parameters<PostgresRuntime['list']>[0];

export async function summary(
  pool: pg.Pool,
  now: number,
  teamId: string | null,
): ReturnType<PostgresRuntime['summary']> {
  const { rows } = await pool.query<Raw>(
    `with stuck as (select kind, id from actor_timers where due_at < $3
                    union
                    select kind, id from actor_effects where status = 'parked')
     select kind, path, count(*)::int as count, min(since) as oldest,
            percentile_cont(0.5) within group (order by $1::bigint - since) as dwell,
            count(*) filter (where (kind, id) in (select kind, id from stuck))::int as stuck
       from actors where not done and ($2::text is null or team_id = $2)
      group by kind, path order by kind, path`,
    [now, teamId, now - OVERDUE_MS],
  );
  return rows.map((raw) => ({
    kind: raw.kind as string,
    path: raw.path as string,
    count: raw.count as number,
    oldestSince: Number(raw.oldest),
    medianDwellMs: Math.round(Number(raw.dwell)),
    stuck: raw.stuck as number,
  }));
}

/** One page in the order of addresses; the cursor is the last address. */
export async function list(
  pool: pg.Pool,
  now: number,
  filter: Filter,
  view: (row: ActorRow) => ActorView,
): ReturnType<PostgresRuntime['list']> {
  const limit = Math.min(filter.limit ?? PAGE, LONGEST_PAGE);
  const [afterKind, afterId] = filter.cursor ? decode(filter.cursor) : [null, null];
  const { rows } = await pool.query<Raw>(
    `select ${ACTOR_COLUMNS} from actors a
      where ($1::text is null or kind = $1) 
        and ($2::text is null or path = $2
             or exists (select from unnest(string_to_array(path, '+')) leaf
                         where leaf = $2 or starts_with(leaf, $2 || '.')))
        and ($9::jsonb is null or snapshot -> 'context' @> $9)
        and ($3::text is null or team_id = $3)
        and ($4::text is null or (kind, id) > ($4, $5::text))
        and (not $6::boolean
             or exists (select from actor_timers t where t.kind = a.kind and t.id = a.id and t.due_at < $7)
             or exists (select from actor_effects e where e.kind = a.kind and e.id = a.id and e.status = 'parked'))
      order by kind, id limit $8`,
    [
      filter.kind ?? null,
      filter.path ?? null,
      filter.teamId ?? null,
      afterKind,
      afterId,
      filter.stuck ?? false,
      now - OVERDUE_MS,
      limit + 1,
      filter.context === undefined ? null : JSON.stringify(filter.context),
    ],
  );
  const items = rows.slice(0, limit).map((raw) => view(toActorRow(raw)));
  const last = items.at(-1);
  return { items, cursor: rows.length > limit && last ? encode(last.kind, last.id) : null };
}

function encode(kind: string, id: string): string {
  return Buffer.from(JSON.stringify([kind, id])).toString('base64url');
}

function decode(cursor: string): [string | null, string | null] {
  try {
    const [kind, id] = JSON.parse(Buffer.from(cursor, 'base64url').toString()) as unknown[];
    if (typeof kind === 'string' && typeof id === 'string') return [kind, id];
  } catch {
    // not one of ours: from the start
  }
  return [null, null];
}

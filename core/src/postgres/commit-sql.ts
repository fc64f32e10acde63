import type { Projection } from '../definition.ts';

/**
 * The group commit: one statement for a batch of actors (64, or 160 where many wait). Its rules, each of them a fault that was seen:
 *
 * - Every inserted row derives from what the `actors` update returned (`moved`), never from the input: an actor that loses
 *   its compare-and-set leaves nothing behind.
 * - That update joins the partition's lease read `for share`, which sees the newest row: an epoch from the statement's own
 *   snapshot would let a stale owner commit.
 * - `not exists (inbox)`: a message is accepted once.
 * - Sections that have no rows are left out of the text; each combination is one prepared statement.
 */
export type Section =
  | 'create'
  | 'update'
  | 'inbox'
  | 'timers_set'
  | 'timers_clear'
  | 'effects_set'
  | 'effects_close'
  | 'outbox'
  | 'consume'
  | 'answers'
  | 'audit'
  | `upsert:${string}`
  | `remove:${string}`;

/** Name of a projection in sections: tables may be written by several kinds. */
export function projectionName(kind: string, table: string): string {
  return `${kind}/${table}`;
}

/** Arrays of a section, in order: a name in the statement and the type of the array's elements. */
export type Columns = readonly (readonly [name: string, type: string])[];

const ACTOR: Columns = [
  ['kind', 'text'],
  ['id', 'text'],
  ['partition', 'int'],
  ['epoch', 'bigint'],
  ['from_seq', 'bigint'],
  ['seq', 'bigint'],
  ['machine_version', 'int'],
  ['state', 'text'],
  ['path', 'text'],
  ['tags', 'text'],
  ['snapshot', 'text'],
  ['ledger', 'text'],
  ['team_id', 'text'],
  ['created_at', 'bigint'],
  ['since', 'bigint'],
  ['updated_at', 'bigint'],
  ['done', 'boolean'],
];

/** `n` is the actor's place in the batch (`ACTOR` counts from 1). */
const SECTION_COLUMNS: Record<string, Columns> = {
  events: [
    ['n', 'int'],
    ['seq', 'bigint'],
    ['at', 'bigint'],
    ['outcome', 'text'],
    ['event', 'text'],
    ['message_id', 'text'],
    ['cause', 'text'],
    ['effect_key', 'text'],
    ['from_state', 'text'],
    ['to_state', 'text'],
    ['path', 'text'],
    ['diff', 'text'],
    ['machine_version', 'int'],
    ['team_id', 'text'],
  ],
  inbox: [
    ['n', 'int'],
    ['message_id', 'text'],
  ],
  timers_set: [
    ['n', 'int'],
    ['name', 'text'],
    ['visit', 'bigint'],
    ['delay', 'text'],
    ['node', 'text'],
    ['due_at', 'bigint'],
  ],
  timers_clear: [
    ['n', 'int'],
    ['name', 'text'],
  ],
  effects_set: [
    ['n', 'int'],
    ['number', 'bigint'],
    ['name', 'text'],
    ['node', 'text'],
    ['visit', 'bigint'],
    ['input', 'text'],
    ['opened_at', 'bigint'],
    ['attempts', 'int'],
    ['next_attempt_at', 'bigint'],
    ['last_error', 'text'],
    ['status', 'text'],
  ],
  effects_close: [
    ['n', 'int'],
    ['number', 'bigint'],
  ],
  outbox: [
    ['n', 'int'],
    ['k', 'int'],
    ['message_id', 'text'],
    ['to_kind', 'text'],
    ['to_id', 'text'],
    ['partition', 'int'],
    ['event', 'text'],
    ['cause', 'text'],
  ],
  consume: [
    ['n', 'int'],
    ['message_id', 'text'],
  ],
  answers: [
    ['n', 'int'],
    ['message_id', 'text'],
    ['answer', 'text'],
  ],
  audit: [
    ['n', 'int'],
    ['at', 'bigint'],
    ['team_id', 'text'],
    ['actor_type', 'text'],
    ['actor_id', 'text'],
    ['actor_name', 'text'],
    ['action', 'text'],
    ['status', 'text'],
    ['metadata', 'text'],
  ],
};
const PROJECTION_COLUMNS: Columns = [
  ['n', 'int'],
  ['row', 'text'],
];

export function columnsOf(section: Section | 'actors' | 'events'): Columns {
  if (section === 'actors') return ACTOR;
  return SECTION_COLUMNS[section] ?? PROJECTION_COLUMNS;
}

/** Text of the statement for these sections; its parameters are the arrays of `actors`, `events` and each section, in this order. */
export function commitSql(sections: readonly Section[], projections: ReadonlyMap<string, Projection<never>>): string {
  let parameter = 0;
  const rows = (section: Section | 'actors' | 'events') => {
    const columns = columnsOf(section);
    const arrays = columns.map(([, type], i) => `$${parameter + i + 1}::${type}[]`);
    parameter += columns.length;
    return `unnest(${arrays.join(', ')}) ${section === 'actors' ? 'with ordinality ' : ''}as r(${columns
      .map(([name]) => `"${name}"`)
      .join(', ')}${section === 'actors' ? ', n' : ''})`;
  };
  const has = (section: Section) => sections.includes(section);
  const actors = rows('actors');
  const events = rows('events');
  const texts = sections
    .filter((section) => section !== 'create' && section !== 'update')
    .map((section) => [section, rows(section)] as const);
  const inbox = texts.find(([section]) => section === 'inbox')?.[1];
  const fresh = inbox
    ? `and not exists (select from message_ids m
                         join actor_inbox x on x.kind = m.kind and x.id = m.id and x.message_id = m.message_id
                        where m.n = r.n)`
    : '';
  const parts = [
    `input as materialized (select * from ${actors})`,
    ...(inbox
      ? [
          `message_ids as materialized (
       select i.n, i.kind, i.id, r.message_id from ${inbox} join input i on i.n = r.n)`,
        ]
      : []),
    `lease as materialized (
       select p.id, p.epoch from partitions p where p.id in (select partition from input) order by p.id for share)`,
    ...(has('update')
      ? [
          `updated as (
       update actors a
          set seq = r.seq, machine_version = r.machine_version, state = r.state::jsonb, path = r.path, tags = r.tags::text[],
              snapshot = r.snapshot::jsonb, ledger = r.ledger::jsonb, team_id = r.team_id, since = r.since,
              updated_at = r.updated_at, done = r.done
         from input r join lease l on l.id = r.partition and l.epoch = r.epoch
        where r.from_seq > 0 and a.kind = r.kind and a.id = r.id and a.seq = r.from_seq ${fresh}
       returning r.n, r.kind, r.id, r.partition)`,
        ]
      : []),
    ...(has('create')
      ? [
          `made as (
       insert into actors (kind, id, partition, seq, machine_version, state, path, tags, snapshot, ledger, team_id,
                           created_at, since, updated_at, done)
       select r.kind, r.id, r.partition, r.seq, r.machine_version, r.state::jsonb, r.path, r.tags::text[], r.snapshot::jsonb,
              r.ledger::jsonb, r.team_id, r.created_at, r.since, r.updated_at, r.done
         from input r join lease l on l.id = r.partition and l.epoch = r.epoch
        where r.from_seq = 0 ${fresh}
       on conflict (kind, id) do nothing
       returning kind, id)`,
          `created as (
       select r.n, r.kind, r.id, r.partition from made join input r on r.kind = made.kind and r.id = made.id where r.from_seq = 0)`,
        ]
      : []),
    `moved as materialized (
       ${[...(has('update') ? ['select * from updated'] : []), ...(has('create') ? ['select * from created'] : [])].join(' union all ')})`,
    `journal as (
       insert into actor_events (kind, id, seq, at, outcome, event, message_id, cause, effect_key, from_state, to_state, path,
                                 diff, machine_version, team_id)
       select m.kind, m.id, r.seq, r.at, r.outcome, r.event::jsonb, r.message_id, r.cause::jsonb, r.effect_key,
              r.from_state::jsonb, r.to_state::jsonb, r.path, r.diff::jsonb, r.machine_version, r.team_id
         from ${events} join moved m on m.n = r.n
        order by r.n, r.seq)`,
    ...texts.map(([section, source]) => sectionSql(section, source, projections)),
  ];
  return `with ${parts.join(',\n')}
     select r.n, m.n is not null as moved, coalesce(l.epoch = r.epoch, false) as leased
       from input r left join moved m on m.n = r.n left join lease l on l.id = r.partition`;
}

function sectionSql(section: Section, source: string, projections: ReadonlyMap<string, Projection<never>>): string {
  switch (section) {
    case 'inbox':
      return `inbox as (
       insert into actor_inbox (kind, id, message_id)
       select m.kind, m.id, r.message_id from message_ids r join moved m on m.n = r.n)`;
    case 'timers_set':
      return `timers_set as (
       insert into actor_timers (kind, id, name, partition, visit, delay, node, due_at)
       select m.kind, m.id, r.name, m.partition, r.visit, r.delay, r.node, r.due_at from ${source} join moved m on m.n = r.n
       on conflict (kind, id, name) do update
          set visit = excluded.visit, delay = excluded.delay, node = excluded.node, due_at = excluded.due_at)`;
    case 'timers_clear':
      return `timers_clear as (
       delete from actor_timers t using ${keyed('r.name', source)}
        where t.kind = k.kind and t.id = k.id and t.name = k.name)`;
    case 'effects_set':
      return `effects_set as (
       insert into actor_effects (kind, id, number, partition, name, node, visit, input, opened_at, attempts, next_attempt_at,
                                  last_error, status)
       select m.kind, m.id, r.number, m.partition, r.name, r.node, r.visit, r.input::jsonb, r.opened_at, r.attempts,
              r.next_attempt_at, r.last_error::jsonb, r.status
         from ${source} join moved m on m.n = r.n
       on conflict (kind, id, number) do update
          set attempts = excluded.attempts, next_attempt_at = excluded.next_attempt_at, last_error = excluded.last_error,
              status = excluded.status)`;
    case 'effects_close':
      return `effects_close as (
       delete from actor_effects e using ${keyed('r.number', source)}
        where e.kind = k.kind and e.id = k.id and e.number = k.number)`;
    case 'outbox':
      return `outbox as (
       insert into actor_outbox (message_id, to_kind, to_id, partition, event, cause, asked)
       select r.message_id, r.to_kind, r.to_id, r.partition, r.event::jsonb, r.cause::jsonb, false
         from ${source} join moved m on m.n = r.n
        order by r.k
       on conflict (to_kind, to_id, message_id) do nothing)`;
    case 'consume':
      return `consume as (
       delete from actor_outbox o using ${keyed('r.message_id', source)}
        where o.to_kind = k.kind and o.to_id = k.id and o.message_id = k.message_id)`;
    case 'answers':
      return `answers as (
       insert into actor_answers (kind, id, message_id, answer)
       select m.kind, m.id, r.message_id, r.answer::jsonb from ${source} join moved m on m.n = r.n
       on conflict (kind, id, message_id) do nothing)`;
    case 'audit':
      return `audit as (
       insert into audit_logs (at, team_id, scope, actor_type, actor_id, actor_name, action, resource_type, resource_id,
                               status, metadata)
       select to_timestamp(r.at / 1000.0), r.team_id, case when r.team_id is null then 'admin' else 'team' end, r.actor_type,
              r.actor_id, r.actor_name, r.action, m.kind, m.id, r.status, r.metadata::jsonb
         from ${source} join moved m on m.n = r.n)`;
    default:
      return projectionSql(section, source, projections);
  }
}

/**
 * Keys of rows to delete, as one relation behind a fence: from two relations PostgreSQL may look up by a part of the key
 * alone, which on a table that was small when the plan was made reads the whole index (measured: 70 ms for 64 rows).
 */
function keyed(column: string, source: string): string {
  return `(select m.kind, m.id, ${column} from ${source} join moved m on m.n = r.n offset 0) k`;
}

function projectionSql(section: Section, source: string, projections: ReadonlyMap<string, Projection<never>>): string {
  const [verb, target = ''] = section.split(':');
  const projection = projections.get(target);
  if (!projection) throw new Error(`no definition writes ${target}`);
  const { table, key, columns } = projection;
  const name = `"${section}"`;
  const list = (names: readonly string[], prefix = '') => names.map((column) => `${prefix}"${column}"`).join(', ');
  const typed = `${source} join moved m on m.n = r.n, lateral jsonb_populate_record(null::"${table}", r.row::jsonb) p`;
  if (verb === 'remove') {
    const matches = key.map((column) => `t."${column}" = k."${column}"`).join(' and ');
    return `${name} as (
       delete from "${table}" t using (select ${list(key, 'p.')} from ${typed} offset 0) k where ${matches})`;
  }
  const others = columns.filter((column) => !key.includes(column));
  const update = others.map((column) => `"${column}" = excluded."${column}"`).join(', ');
  const conflict = update === '' ? 'do nothing' : `do update set ${update}`;
  return `${name} as (
       insert into "${table}" (${list(columns)}) select ${list(columns, 'p.')} from ${typed}
       on conflict (${list(key)}) ${conflict})`;
}

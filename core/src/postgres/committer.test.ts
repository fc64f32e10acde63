import { randomUUID } from 'node:crypto';
import pg from 'pg';
import { afterAll, beforeAll, beforeEach, expect, test } from 'vitest';
import type { TestDatabase } from '../../../scripts/dev/test-database.ts';
import { fold } from '../engine/fold.ts';
import { newResident, queued } from '../engine/resident.ts';
import type { ActorCommit } from '../engine/store.ts';
import type { ActorDefinition } from '../index.ts';
import type { Envelope } from '../step/actor-state.ts';
import { PreparedMachine } from '../step/prepared-machine.ts';
import { CutProxy } from '../testing/cut-proxy.ts';
import { rowsOf, runtimeDatabase } from '../testing/database.ts';
import { parcel } from '../testing/parcel.ts';
import { Committer } from './committer.ts';
import { partitionOf } from './partition.ts';

/** Each trap of the group commit by itself (design §3). */

const EPOCH = 7;
let database: TestDatabase;
let client: pg.Client;
let second: pg.Client;
const machine = new PreparedMachine(parcel);
const committer = new Committer([parcel]);

beforeAll(async () => {
  database = await runtimeDatabase();
  client = await connected(database.url);
  second = await connected(database.url);
});
afterAll(async () => {
  await client?.end();
  await second?.end();
  await database?.drop();
});
beforeEach(async () => {
  await client.query(
    'truncate actors, actor_events, actor_effects, actor_timers, actor_outbox, actor_inbox, actor_answers, parcels, audit_logs',
  );
  await client.query('update partitions set owner = $1, epoch = $2', ['me', EPOCH]);
});

async function connected(connectionString: string): Promise<pg.Client> {
  const made = new pg.Client({ connectionString });
  made.on('error', () => undefined);
  await made.connect();
  return made;
}

function envelope(id: string, type: string, fields: object = {}, messageId: string = randomUUID()): Envelope {
  return {
    id: messageId,
    to: { kind: 'parcel', id },
    event: { type, ...fields },
    cause: { type: 'system' },
    asked: true,
  };
}

/** An actor in memory that is ahead of the store by the commits that are made from it. */
function actor(id: string, prepared = machine) {
  const resident = { ...newResident({ kind: 'parcel', id }, `parcel:${id}`), known: true };
  return (...messages: Envelope[]): ActorCommit => {
    const { commit } = fold(
      prepared,
      resident,
      messages.map((one) => queued(one)),
      Date.now(),
      EPOCH,
    );
    if (!commit) throw new Error('nothing to commit');
    return commit;
  };
}

const TABLES = ['actors', 'actor_events', 'actor_effects', 'actor_timers', 'actor_inbox', 'actor_answers', 'parcels'];
async function counts(): Promise<Record<string, number>> {
  const selects = TABLES.map((table) => `(select count(*)::int from ${table}) as ${table}`);
  const [row] = await rowsOf<Record<string, number>>(database.url, `select ${selects.join(', ')}`);
  return row ?? {};
}

test('a batch is one statement, and all that it causes is there', async () => {
  const commits = Array.from({ length: 64 }, (_, i) =>
    actor(`b${i}`)(envelope(`b${i}`, 'CREATE'), envelope(`b${i}`, 'NOTE', { text: 'x' })),
  );
  expect(await committer.commit(client, commits)).toEqual(commits.map(() => ({ type: 'committed' })));
  expect(await counts()).toEqual({
    actors: 64,
    actor_events: 128,
    actor_effects: 64,
    actor_timers: 64,
    actor_inbox: 128,
    actor_answers: 64,
    parcels: 64,
  });
});

test('a loser of the compare-and-set leaves nothing; the others of its batch stand', async () => {
  const [winner, loser, other] = [actor('a'), actor('a'), actor('other')];
  expect(await committer.commit(client, [winner(envelope('a', 'CREATE'))])).toEqual([{ type: 'committed' }]);
  const before = await counts();
  const stale = loser(envelope('a', 'CREATE'), envelope('a', 'NOTE', { text: 'ghost' }));
  const outcomes = await committer.commit(client, [stale, other(envelope('other', 'CREATE'))]);
  expect(outcomes).toEqual([{ type: 'lost', leased: true }, { type: 'committed' }]);
  expect(await counts()).toEqual({
    ...before,
    actors: 2,
    actor_events: 2,
    actor_effects: 2,
    actor_timers: 2,
    actor_inbox: 2,
    parcels: 2,
  });
  const behind = loser(envelope('a', 'NOTE', { text: 'ghost' })); // computed from a state that was never stored
  expect(await committer.commit(client, [behind])).toEqual([{ type: 'lost', leased: true }]);
  expect(await rowsOf(database.url, "select from actor_events where event::text like '%ghost%'")).toEqual([]);
});

test('a message that was accepted before moves nothing', async () => {
  const make = actor('a');
  await committer.commit(client, [make(envelope('a', 'CREATE', {}, 'same'))]);
  const before = await counts();
  expect(await committer.commit(client, [make(envelope('a', 'NOTE', { text: 'x' }, 'same'))])).toEqual([
    { type: 'lost', leased: true },
  ]);
  expect(await counts()).toEqual(before);
});

test('a stale epoch cannot commit, also when its statement began before the takeover was committed', async () => {
  const make = actor('a');
  await committer.commit(client, [make(envelope('a', 'CREATE'))]);
  const before = await counts();
  await second.query('begin');
  await second.query('update partitions set epoch = $1 where id = $2', [
    EPOCH + 1,
    partitionOf({ kind: 'parcel', id: 'a' }),
  ]);
  const committing = committer.commit(client, [make(envelope('a', 'NOTE', { text: 'stale' }))]);
  await expect
    .poll(() =>
      rowsOf(database.url, "select from pg_stat_activity where wait_event_type = 'Lock' and query like 'with input%'"),
    )
    .toHaveLength(1);
  await second.query('commit');
  expect(await committing).toEqual([{ type: 'lost', leased: false }]);
  expect(await counts()).toEqual(before);
});

test('a takeover waits for commits that are in flight', async () => {
  const make = actor('a');
  await client.query('begin');
  expect(await committer.commit(client, [make(envelope('a', 'CREATE'))])).toEqual([{ type: 'committed' }]);
  let taken = false;
  const taking = second.query('update partitions set epoch = 8').then(() => {
    taken = true;
  });
  await new Promise((resolve) => setTimeout(resolve, 50));
  expect(taken).toBe(false);
  await client.query('commit');
  await taking;
  expect(await counts()).toMatchObject({ actors: 1 });
});

test('an actor whose rows the database refuses fails alone', async () => {
  const broken = new PreparedMachine({
    ...parcel,
    projections: [
      { ...(parcel.projections?.[0] as never as object), upsert: ({ id }: { id: string }) => [{ id, path: null }] },
    ],
  } as unknown as ActorDefinition);
  const bad = actor('bad', broken)(envelope('bad', 'CREATE'));
  const good = [actor('g1')(envelope('g1', 'CREATE')), actor('g2')(envelope('g2', 'CREATE'))];
  const [first, refused, last] = await committer.commit(client, [good[0] as ActorCommit, bad, good[1] as ActorCommit]);
  expect([first, last]).toEqual([{ type: 'committed' }, { type: 'committed' }]);
  expect(refused).toMatchObject({ type: 'failed', error: { code: '23502' } });
  expect(await counts()).toMatchObject({ actors: 2, actor_events: 2, actor_inbox: 2 });
});

test('NUL and half surrogates fail nothing', async () => {
  const make = actor('a');
  const commit = make(envelope('a', 'CREATE'), envelope('a', 'NOTE', { text: 'a\0b\udfff' }));
  expect(await committer.commit(client, [commit])).toEqual([{ type: 'committed' }]);
  expect(await rowsOf(database.url, 'select notes from parcels')).toEqual([{ notes: ['a\u2400b\ufffd'] }]);
});

test('after a lost connection the outcome is unknown, whether it was written or not', async () => {
  const proxy = await CutProxy.before(new URL(database.url));
  try {
    const make = actor('a');
    const through = await connected(proxy.url(database.url));
    proxy.swallow = (sent) => sent.includes('insert into actor_events');
    expect(await committer.commit(through, [make(envelope('a', 'CREATE'))])).toEqual([{ type: 'unknown' }]);
    expect(await counts()).toMatchObject({ actors: 1 });
    proxy.swallow = null;
    const again = await connected(proxy.url(database.url));
    await second.query('begin');
    await second.query('select from partitions for update');
    const committing = committer.commit(again, [make(envelope('a', 'NOTE', { text: 'x' }))]);
    await new Promise((resolve) => setTimeout(resolve, 50));
    const [{ pid }] = (await rowsOf<{ pid: number }>(
      database.url,
      "select pid from pg_stat_activity where wait_event_type = 'Lock'",
    )) as [{ pid: number }];
    await second.query('select pg_terminate_backend($1)', [pid]);
    expect(await committing).toEqual([{ type: 'unknown' }]);
    await second.query('rollback');
    expect(await counts()).toMatchObject({ actor_events: 1 });
  } finally {
    await proxy.close();
  }
});

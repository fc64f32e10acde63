import { randomUUID } from 'node:crypto';
import { afterAll, beforeAll, expect, test } from 'vitest';
import type { TestDatabase } from '../../../scripts/dev/test-database.ts';
import type { EffectHandler, JournalEntry, PostgresRuntime } from '../index.ts';
import { createPostgresRuntime } from '../index.ts';
import { rowsOf, runtimeDatabase } from '../testing/database.ts';
import { parcel } from '../testing/parcel.ts';

const user = { type: 'user', id: 'usr-1', name: 'Ann' } as const;
const pack: EffectHandler = async ({ input }) => {
  const { name } = input as { name: string };
  if (name.includes('broken')) throw new Error('no box');
  if (name.includes('hang')) return null;
  return { type: 'PACKED', weight: 3 };
};

let database: TestDatabase;
let runtime: PostgresRuntime;
const parcelRef = (prefix: string) => ({ kind: 'parcel', id: `${prefix}-${randomUUID()}` });

beforeAll(async () => {
  database = await runtimeDatabase();
  runtime = createPostgresRuntime({ connection: database.url, definitions: [parcel], handlers: { pack } });
  await runtime.start();
});
afterAll(async () => {
  await runtime?.stop();
  await database?.drop();
});

test('a command is answered by the commit that ends its work, and everything it caused is there', async () => {
  const ref = parcelRef('t-1');
  const answer = await runtime.ask(ref, { type: 'CREATE' }, { cause: user });
  expect(answer).toEqual({ ok: true, value: { name: ref.id, weight: 3 } });
  const view = await runtime.read(ref);
  expect(view).toMatchObject({ path: 'waiting.idle.armed+waiting.label.none', tags: ['rest'], seq: 2, done: false });
  expect(await runtime.effects(ref)).toEqual([]);
  expect(await runtime.timers(ref)).toEqual([]);
  const [row] = await rowsOf<{ weight: number; packed_at: Date }>(database.url, 'select * from parcels where id = $1', [
    ref.id,
  ]);
  expect(row).toMatchObject({ weight: 3, packed_at: new Date(view?.since ?? 0) });
  const [audit] = await rowsOf(database.url, 'select * from audit_logs where resource_id = $1', [ref.id]);
  expect(audit).toMatchObject({ action: 'parcel.packed', status: 'success', team_id: 't-1', actor_type: 'effect' });
  const journal = await runtime.journal(ref, {});
  expect(journal.map(({ seq, outcome, event, from, path }) => [seq, outcome, event.type, from, path])).toEqual([
    [1, 'transition', 'CREATE', null, 'packing'],
    [2, 'transition', 'PACKED', 'packing', 'waiting.idle.armed+waiting.label.none'],
  ]);
  expect(journal[1]?.diff).toEqual([{ op: 'replace', path: '/weight', value: 3 }]);
  expect(JSON.stringify(journal)).not.toContain('hush');
});

test('a duplicate gets the first answer, and is not handled again', async () => {
  const ref = parcelRef('t-1');
  await runtime.ask(ref, { type: 'CREATE' }, { cause: user, messageId: 'create' });
  const first = await runtime.ask(ref, { type: 'NOTE', text: 'a' }, { cause: user, messageId: 'once' });
  await runtime.ask(ref, { type: 'NOTE', text: 'b' }, { cause: user });
  const second = await runtime.ask(ref, { type: 'NOTE', text: 'a' }, { cause: user, messageId: 'once' });
  expect(second).toEqual(first);
  expect(await runtime.ask(ref, { type: 'CREATE' }, { cause: user, messageId: 'create' })).toMatchObject({ ok: true });
  expect((await runtime.read(ref))?.context).toMatchObject({ notes: ['a', 'b'] });
});

test('an illegal command is refused with the state, since when, and what is legal', async () => {
  const ref = parcelRef('t-1');
  expect(await runtime.ask(ref, { type: 'NOTE', text: 'x' }, { cause: user })).toMatchObject({
    ok: false,
    error: { code: 'not_found' },
  });
  await runtime.ask(ref, { type: 'CREATE' }, { cause: user });
  const refused = await runtime.ask(ref, { type: 'NOTE', text: '' }, { cause: user });
  expect(refused).toMatchObject({
    ok: false,
    error: {
      code: 'illegal_command',
      details: {
        path: 'waiting.idle.armed+waiting.label.none',
        legal_commands: expect.arrayContaining(['CANCEL', 'LABEL']),
      },
    },
  });
  expect(await runtime.ask(ref, { type: 'CREATE' }, { cause: user })).toMatchObject({
    ok: false,
    error: { code: 'already_exists' },
  });
  expect((await runtime.journal(ref, {})).at(-1)).toMatchObject({ outcome: 'refused' });
});

test('an effect is retried by its policy, then given up', async () => {
  const ref = parcelRef('broken');
  const answer = await runtime.ask(ref, { type: 'CREATE' }, { cause: user });
  expect(answer).toMatchObject({ ok: false, error: { code: 'conflict' } });
  expect((await runtime.journal(ref, {})).at(-1)).toMatchObject({
    event: { type: 'PACK_FAILED', message: 'no box' },
    cause: { type: 'effect', name: 'pack' },
  });
});

test('a timer fires, and one of an earlier visit does not', async () => {
  const ref = parcelRef('hang');
  await runtime.ask(ref, { type: 'CREATE_NOW', packMs: 150 }, { cause: user });
  expect(await runtime.timers(ref)).toMatchObject([{ name: 'packing', state: 'packing' }]);
  await new Promise((resolve) => setTimeout(resolve, 100));
  await runtime.ask(ref, { type: 'REPACK' }, { cause: user });
  await new Promise((resolve) => setTimeout(resolve, 100));
  expect((await runtime.read(ref))?.path).toBe('packing');
  await expect.poll(async () => (await runtime.read(ref))?.path).toBe('failed');
});

test('a late result changes nothing and is seen in the journal', async () => {
  const ref = parcelRef('hang');
  await runtime.ask(ref, { type: 'CREATE_NOW' }, { cause: user });
  const [first] = await runtime.effects(ref);
  await runtime.ask(ref, { type: 'REPACK' }, { cause: user });
  const [second] = await runtime.effects(ref);
  expect(second?.number).toBeGreaterThan(first?.number ?? 0);
  await runtime.tell(
    ref,
    { type: 'PACKED', weight: 9 },
    { cause: { type: 'host', id: 'h' }, effectKey: first?.key ?? '' },
  );
  expect((await runtime.journal(ref, {})).at(-1)).toMatchObject({
    outcome: 'late',
    event: { type: 'PACKED' },
    diff: [],
  });
  await runtime.tell(
    ref,
    { type: 'PACKED', weight: 7 },
    { cause: { type: 'host', id: 'h' }, effectKey: second?.key ?? '' },
  );
  expect(await runtime.read(ref)).toMatchObject({ context: { weight: 7 } });
});

test('messages between actors arrive in their order, once', async () => {
  const [a, b] = [parcelRef('t-1'), parcelRef('t-1')];
  await Promise.all([a, b].map((ref) => runtime.ask(ref, { type: 'CREATE' }, { cause: user })));
  const texts = Array.from({ length: 100 }, (_, i) => `n${i}`);
  await Promise.all(texts.map((text) => runtime.ask(a, { type: 'TELL', to: b.id, text }, { cause: user })));
  await expect.poll(async () => (await runtime.read(b))?.context).toMatchObject({ notes: texts });
  expect(await rowsOf(database.url, 'select * from actor_outbox')).toEqual([]);
});

test('the feed has every commit once, and resumes by its cursor', async () => {
  const stop = new AbortController();
  const seen: JournalEntry[] = [];
  const reading = (async () => {
    for await (const entry of runtime.feed(null, stop.signal)) seen.push(entry);
  })();
  await new Promise((resolve) => setTimeout(resolve, 50));
  const refs = Array.from({ length: 20 }, () => parcelRef('t-2'));
  await Promise.all(refs.map((ref) => runtime.ask(ref, { type: 'CREATE' }, { cause: user })));
  await expect.poll(() => seen.length).toBe(40);
  stop.abort();
  await reading;
  const again: JournalEntry[] = [];
  const rest = new AbortController();
  for await (const entry of runtime.feed(seen[9]?.cursor ?? null, rest.signal)) {
    again.push(entry);
    if (again.length === 30) rest.abort();
  }
  expect(again).toEqual(seen.slice(10));
});

test('transact moves the actor together with the caller’s SQL, or not at all', async () => {
  const ref = parcelRef('t-1');
  await runtime.ask(ref, { type: 'CREATE' }, { cause: user });
  const insert = (ok: boolean) =>
    runtime.transact(
      ref,
      { type: 'LABEL' },
      {
        cause: user,
        within: async (tx) => {
          await tx.query('insert into parcels (id, path, weight, notes) values ($1, $2, 1, $3)', [
            `${ref.id}-label`,
            'x',
            '[]',
          ]);
          return ok;
        },
      },
    );
  expect(await insert(false)).toBe('rolled_back');
  expect((await runtime.read(ref))?.path).toContain('label.none');
  expect(await insert(true)).toBe('committed');
  expect((await runtime.read(ref))?.path).toContain('label.printed');
  expect(await insert(true)).toBe('rolled_back');
  expect(await rowsOf(database.url, 'select * from parcels where id = $1', [`${ref.id}-label`])).toHaveLength(1);
});

test('NUL and broken surrogates from a guest are stored as visible symbols', async () => {
  const ref = parcelRef('t-1');
  await runtime.ask(ref, { type: 'CREATE' }, { cause: user });
  await runtime.ask(ref, { type: 'NOTE', text: 'a\0b\ud800c\\u0000' }, { cause: user });
  expect((await runtime.read(ref))?.context).toMatchObject({ notes: ['a\u2400b\ufffdc\\u0000'] });
});

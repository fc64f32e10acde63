import { randomUUID } from 'node:crypto';
import { afterAll, beforeAll, expect, test } from 'vitest';
import type { TestDatabase } from '../../../scripts/dev/test-database.ts';
import {
  type ActorDefinition,
  createPostgresRuntime,
  type EffectHandler,
  type PostgresRuntime,
  TerminalError,
} from '../index.ts';
import { rowsOf, runtimeDatabase } from '../testing/database.ts';
import { type ParcelContext, parcel } from '../testing/parcel.ts';

/** What goes wrong and what people do about it: parked messages and effects, retries and give-ups by hand, the stuck finder. */

const user = { type: 'user', id: 'usr-1', name: 'Ann' } as const;
const FOREVER = { attempts: null, firstDelayMs: 60_000, factor: 1, maxDelayMs: 60_000 };
const definition: ActorDefinition<ParcelContext> = {
  ...parcel,
  effects: { pack: { ...(parcel.effects.pack as (typeof parcel.effects)[string]), retry: FOREVER } },
  projections: (parcel.projections ?? []).map((projection) => ({
    ...projection,
    upsert: (view) =>
      view.context.notes.includes('unstorable') ? [{ id: view.id, path: null }] : (projection.upsert?.(view) ?? []),
  })),
};
let broken = true;
const pack: EffectHandler = async ({ actor }, signal) => {
  if (actor.id.startsWith('terminal')) throw new TerminalError('snapshot_incompatible', 'never here');
  if (actor.id.startsWith('slow'))
    await new Promise((_, reject) => signal.addEventListener('abort', () => reject(signal.reason)));
  if (broken) throw new Error('out of boxes');
  return { type: 'PACKED', weight: 4 };
};
let database: TestDatabase;
let runtime: PostgresRuntime;
const ref = (prefix = 'p') => ({ kind: 'parcel', id: `${prefix}-${randomUUID()}` });

beforeAll(async () => {
  database = await runtimeDatabase();
  runtime = createPostgresRuntime({
    connection: database.url,
    definitions: [definition],
    handlers: { pack },
    keepIdle: 2,
  });
  await runtime.start();
});
afterAll(async () => {
  await runtime?.stop();
  await database?.drop();
});

test('a failing effect waits visibly, and is retried by hand', async () => {
  const to = ref();
  broken = true;
  await runtime.ask(to, { type: 'CREATE_NOW' }, { cause: user });
  await expect
    .poll(() => runtime.effects(to))
    .toMatchObject([{ name: 'pack', attempts: 1, status: 'open', lastError: { message: 'out of boxes' } }]);
  const [effect] = await runtime.effects(to);
  broken = false;
  expect(await runtime.retryEffect(to, effect?.number ?? 0, user)).toBe(true);
  await expect.poll(async () => (await runtime.read(to))?.context).toMatchObject({ weight: 4 });
  const journal = await runtime.journal(to, {});
  expect(journal[1]).toMatchObject({
    event: { type: 'wrenn.retry_effect' },
    cause: user,
    outcome: 'transition',
    from: 'packing',
    to: 'packing',
  });
  expect(await runtime.retryEffect(to, effect?.number ?? 0, user)).toBe(false);
});

test('an effect is given up by hand, with the event of its policy', async () => {
  const to = ref();
  broken = true;
  await runtime.ask(to, { type: 'CREATE_NOW' }, { cause: user });
  await expect.poll(async () => (await runtime.effects(to))[0]?.lastError).not.toBeNull();
  const [effect] = await runtime.effects(to);
  expect(await runtime.giveUpEffect(to, effect?.number ?? 0, user)).toBe(true);
  expect(await runtime.read(to)).toMatchObject({ path: 'failed' });
  expect((await runtime.journal(to, {})).at(-1)).toMatchObject({
    event: { type: 'PACK_FAILED', message: 'out of boxes' },
    cause: user,
  });
});

test('a terminal error gives up at once; a handler whose state was left is aborted', async () => {
  const terminal = ref('terminal');
  await runtime.ask(terminal, { type: 'CREATE_NOW' }, { cause: user });
  await expect.poll(async () => (await runtime.read(terminal))?.path).toBe('failed');
  const slow = ref('slow');
  await runtime.ask(slow, { type: 'CREATE_NOW' }, { cause: user });
  await expect.poll(() => runtime.effects(slow)).toMatchObject([{ status: 'running' }]);
  await runtime.ask(slow, { type: 'CANCEL' }, { cause: user });
  expect(await runtime.effects(slow)).toEqual([]);
  expect((await runtime.read(slow))?.done).toBe(true);
});

test('a message that cannot be stored is put aside with its reason, and what follows it goes on', async () => {
  const to = ref();
  broken = false;
  await runtime.ask(to, { type: 'CREATE' }, { cause: user });
  const asks = ['a', 'unstorable', 'b'].map((text) =>
    runtime.ask(to, { type: 'NOTE', text }, { cause: user }).catch((error) => error.code),
  );
  expect(await Promise.all(asks)).toMatchObject([{ ok: true }, 'machine_error', { ok: true }]);
  expect((await runtime.read(to))?.context).toMatchObject({ notes: ['a', 'b'] });
  expect(await rowsOf(database.url, 'select event, error from actor_parked where id = $1', [to.id])).toMatchObject([
    { event: expect.stringContaining('unstorable'), error: { code: '23502' } },
  ]);
});

test('a message that a machine throws at is put aside too', async () => {
  const to = ref();
  await runtime.ask(to, { type: 'CREATE' }, { cause: user });
  await expect(runtime.ask(to, { type: 'BOMB' }, { cause: user })).rejects.toMatchObject({ code: 'machine_error' });
  expect(await runtime.ask(to, { type: 'NOTE', text: 'on' }, { cause: user })).toMatchObject({ ok: true });
});

test('kinds that are not there, events of the runtime and ids that no id has are refused at the edge', async () => {
  await expect(runtime.ask({ kind: 'crate', id: 'x' }, { type: 'CREATE' }, { cause: user })).rejects.toMatchObject({
    code: 'bad_request',
  });
  await expect(
    runtime.tell(ref(), { type: 'xstate.after.packing.parcel.packing' }, { cause: user }),
  ).rejects.toMatchObject({ code: 'bad_request' });
  await expect(runtime.ask({ kind: 'parcel', id: 'a\0b' }, { type: 'CREATE' }, { cause: user })).rejects.toMatchObject({
    code: 'invalid_id',
  });
  await expect(runtime.tell(ref(), { type: 'NOTE', text: 'x' }, { cause: user })).rejects.toMatchObject({
    code: 'not_found',
  });
});

test('who gives up waiting hears so; the command is handled all the same', async () => {
  const to = ref('slow');
  const stop = new AbortController();
  const asking = runtime.ask(to, { type: 'CREATE' }, { cause: user, signal: stop.signal });
  await expect.poll(() => runtime.read(to)).not.toBeNull();
  stop.abort(new Error('too long'));
  await expect(asking).rejects.toThrow('too long');
  await runtime.ask(to, { type: 'CANCEL' }, { cause: user });
});

test('lists, the summary and the stuck finder', async () => {
  broken = false;
  const mine = await Promise.all(
    Array.from({ length: 5 }, async () => {
      const to = ref('t-7');
      await runtime.ask(to, { type: 'CREATE' }, { cause: user });
      return to.id;
    }),
  );
  const first = await runtime.list({ teamId: 't-7', limit: 3 });
  const second = await runtime.list({ teamId: 't-7', limit: 3, cursor: first.cursor ?? '' });
  expect([...first.items, ...second.items].map(({ id }) => id)).toEqual([...mine].sort());
  expect(second.cursor).toBeNull();
  expect(await runtime.summary('t-7')).toMatchObject([
    { kind: 'parcel', path: 'waiting.idle.armed+waiting.label.none', count: 5 },
  ]);
  expect(await runtime.list({ teamId: 't-7', stuck: true })).toEqual({ items: [], cursor: null });
  await rowsOf(
    database.url,
    `insert into actor_timers (kind, id, name, partition, visit, delay, node, due_at) values ('parcel', $1, 'x', -1, 1, 'x', '', 5)`,
    [mine[0]],
  );
  expect((await runtime.list({ teamId: 't-7', stuck: true })).items.map(({ id }) => id)).toEqual([mine[0]]);
});

test('what is legal now, and why the rest is not', async () => {
  const to = ref();
  await runtime.ask(to, { type: 'CREATE' }, { cause: user });
  const view = await runtime.read(to);
  const commands = runtime.legalCommands(view as never);
  expect(commands.find(({ type }) => type === 'CANCEL')).toEqual({
    type: 'CANCEL',
    title: 'Cancel',
    destructive: true,
    legal: true,
  });
  await runtime.ask(to, { type: 'LABEL' }, { cause: user });
  const later = runtime.legalCommands((await runtime.read(to)) as never);
  expect(later.find(({ type }) => type === 'LABEL')).toMatchObject({
    legal: false,
    reason: expect.stringContaining('label.printed'),
  });
});

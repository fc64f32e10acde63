import { randomUUID } from 'node:crypto';
import { afterAll, afterEach, beforeAll, expect, test } from 'vitest';
import type { TestDatabase } from '../../../scripts/dev/test-database.ts';
import { createPostgresRuntime, type EffectHandler, type EffectJob, type PostgresRuntime } from '../index.ts';
import { Child } from '../testing/child.ts';
import { rowsOf, runtimeDatabase } from '../testing/database.ts';
import { parcel } from '../testing/parcel.ts';

/** What a process that dies leaves to the next one, and what a replica that dies leaves to the others (H7, X3). */

const user = { type: 'user', id: 'usr-1' } as const;
const ref = (prefix = 'p') => ({ kind: 'parcel', id: `${prefix}-${randomUUID()}` });
let database: TestDatabase;
const children: Child[] = [];
const runtimes: PostgresRuntime[] = [];
const jobs: EffectJob[] = [];

beforeAll(async () => {
  database = await runtimeDatabase();
});
afterEach(async () => {
  await Promise.all(children.splice(0).map((child) => child.kill()));
  await Promise.all(runtimes.splice(0).map((runtime) => runtime.stop()));
  jobs.length = 0;
});
afterAll(() => database?.drop());

async function child(): Promise<Child> {
  const started = await Child.started(database.url);
  children.push(started);
  return started;
}
async function here(): Promise<PostgresRuntime> {
  const pack: EffectHandler = async (job) => {
    jobs.push(job);
    return { type: 'PACKED', weight: 9 };
  };
  const runtime = createPostgresRuntime({ connection: database.url, definitions: [parcel], handlers: { pack } });
  await runtime.start();
  runtimes.push(runtime);
  return runtime;
}
const owners = () =>
  rowsOf<{ owner: string; count: number }>(database.url, 'select owner, count(*)::int from partitions group by owner');

test('after kill −9 timers fire and open effects run again, under a newer epoch and with the same key', async () => {
  const first = await child();
  const [stuck, timed] = [ref('stuck'), ref('stuck')];
  await first.ask(stuck, { type: 'CREATE_NOW' });
  await first.ask(timed, { type: 'CREATE_NOW', packMs: 700 });
  const waiting = first.ask(ref('stuck'), { type: 'CREATE' }, 'never').catch((error: Error) => error);
  await expect.poll(() => first.effects.length).toBe(3);
  await first.kill();
  void waiting;
  const runtime = await here();
  await expect.poll(async () => (await runtime.read(stuck))?.context).toMatchObject({ weight: 9 });
  const again = jobs.find(({ actor }) => actor.id === stuck.id);
  const before = first.effects.find(({ key }) => key === again?.key);
  expect(before?.attempt).toBe(1);
  expect(again?.epoch).toBeGreaterThan(before?.epoch ?? 0);
  await expect.poll(async () => (await runtime.read(timed))?.path).not.toBe('packing');
});

test('a timer that became due while nobody ran fires at the next start', async () => {
  const first = await child();
  const parcelRef = ref('stuck');
  await first.ask(parcelRef, { type: 'CREATE_NOW', packMs: 300 });
  await first.kill();
  await new Promise((resolve) => setTimeout(resolve, 500));
  const pack: EffectHandler = async () => null;
  const runtime = createPostgresRuntime({ connection: database.url, definitions: [parcel], handlers: { pack } });
  await runtime.start();
  runtimes.push(runtime);
  await expect.poll(async () => (await runtime.read(parcelRef))?.path, { timeout: 2_000 }).toBe('failed');
});

test('replicas share the actors, any of them serves any, and a duplicate gets the first answer from either', async () => {
  const [one, two] = [await child(), await here()];
  await expect.poll(async () => (await owners()).map(({ count }) => count)).toEqual([8, 8]);
  const refs = Array.from({ length: 40 }, () => ref());
  const answers = await Promise.all(
    refs.map((to) => two.ask(to, { type: 'CREATE' }, { cause: user, messageId: 'create' })),
  );
  expect(answers.every(({ ok }) => ok)).toBe(true);
  const again = await Promise.all(refs.map((to) => one.ask(to, { type: 'CREATE' }, 'create')));
  expect(again).toEqual(answers);
  const counts = await rowsOf(database.url, 'select id from actor_events where id = any ($1)', [
    refs.map(({ id }) => id),
  ]);
  expect(counts).toHaveLength(2 * refs.length);
  const weights = new Set(answers.map((answer) => (answer.ok ? (answer.value as { weight: number }).weight : 0)));
  expect(weights).toEqual(new Set([5, 9])); // both have done effects
  expect(await two.ask(ref(), { type: 'NOTE', text: 'x' }, { cause: user })).toMatchObject({
    ok: false,
    error: { code: 'not_found' },
  });
});

test('messages between actors of different replicas arrive once and in their order', async () => {
  const [one, two] = [await child(), await here()];
  await expect.poll(async () => (await owners()).map(({ count }) => count)).toEqual([8, 8]);
  const pairs = Array.from({ length: 8 }, () => [ref(), ref()] as const);
  await Promise.all(pairs.flat().map((to) => two.ask(to, { type: 'CREATE' }, { cause: user })));
  const texts = Array.from({ length: 10 }, (_, i) => `n${i}`);
  await Promise.all(
    pairs.map(async ([from, to]) => {
      for (const text of texts) await one.ask(from, { type: 'TELL', to: to.id, text });
    }),
  );
  for (const [, to] of pairs) {
    await expect.poll(async () => (await two.read(to))?.context, { timeout: 5_000 }).toMatchObject({ notes: texts });
  }
  await expect.poll(() => rowsOf(database.url, 'select from actor_outbox')).toEqual([]);
});

test('the actors of a killed replica move to the others within seconds, with what was asked of them meanwhile', async () => {
  const [one, two] = [await child(), await here()];
  await expect.poll(async () => (await owners()).map(({ count }) => count)).toEqual([8, 8]);
  const refs = Array.from({ length: 20 }, () => ref('stuck'));
  await Promise.all(refs.map((to) => two.ask(to, { type: 'CREATE_NOW' }, { cause: user })));
  await expect.poll(() => one.effects.length).toBeGreaterThan(0);
  const killedAt = Date.now();
  await one.kill();
  const answers = await Promise.all(refs.map((to) => two.ask(to, { type: 'NOTE', text: 'x' }, { cause: user })));
  expect(Date.now() - killedAt).toBeLessThan(3_000);
  expect(answers.every(({ ok }) => ok)).toBe(true);
  await expect.poll(async () => (await Promise.all(refs.map((to) => two.effects(to)))).flat()).toEqual([]);
});

test('a replica that hangs loses its actors when its lease ends, and cannot write when it wakes', async () => {
  const [one, two] = [await child(), await here()];
  await expect.poll(async () => (await owners()).map(({ count }) => count)).toEqual([8, 8]);
  const refs = Array.from({ length: 20 }, () => ref());
  await Promise.all(refs.map((to) => two.ask(to, { type: 'CREATE' }, { cause: user })));
  one.freeze();
  const late = refs.map((to) => one.ask(to, { type: 'NOTE', text: 'late' }, 'late'));
  await expect.poll(async () => (await owners()).map(({ count }) => count), { timeout: 15_000 }).toEqual([16]);
  await Promise.all(refs.map((to) => two.ask(to, { type: 'NOTE', text: 'meanwhile' }, { cause: user })));
  one.thaw();
  expect((await Promise.all(late)).every(({ ok }) => ok)).toBe(true);
  for (const to of refs) expect((await two.read(to))?.context).toMatchObject({ notes: ['meanwhile', 'late'] });
}, 40_000);

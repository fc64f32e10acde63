import { randomUUID } from 'node:crypto';
import pg from 'pg';
import { afterAll, beforeAll, expect, test } from 'vitest';
import type { TestDatabase } from '../../../scripts/dev/test-database.ts';
import { createPostgresRuntime, type PostgresRuntime } from '../index.ts';
import { CutProxy } from '../testing/cut-proxy.ts';
import { rowsOf, runtimeDatabase } from '../testing/database.ts';
import { parcel } from '../testing/parcel.ts';

const user = { type: 'user', id: 'usr-1' } as const;
let database: TestDatabase;
let proxy: CutProxy;
let runtime: PostgresRuntime;

beforeAll(async () => {
  database = await runtimeDatabase();
  proxy = await CutProxy.before(new URL(database.url));
  runtime = createPostgresRuntime({
    connection: proxy.url(database.url),
    definitions: [parcel],
    handlers: { pack: async () => ({ type: 'PACKED', weight: 1 }) },
  });
  await runtime.start();
});
afterAll(async () => {
  await runtime?.stop();
  await proxy?.close();
  await database?.drop();
});

test('a command whose commit was written but not confirmed is answered once, with its first answer', async () => {
  const ref = { kind: 'parcel', id: randomUUID() };
  await runtime.ask(ref, { type: 'CREATE' }, { cause: user });
  let swallowed = 0;
  proxy.swallow = (sent) => {
    const isCommit = sent.includes('once-only');
    if (isCommit) swallowed += 1;
    return isCommit && swallowed === 1;
  };
  const answer = await runtime.ask(ref, { type: 'NOTE', text: 'once-only' }, { cause: user });
  proxy.swallow = null;
  expect(swallowed).toBe(1);
  expect(answer).toMatchObject({ ok: true, value: { context: { notes: ['once-only'] } } });
  expect(
    await rowsOf(database.url, "select from actor_events where id = $1 and event ->> 'type' = 'NOTE'", [ref.id]),
  ).toHaveLength(1);
});

test('commands go on after every connection was cut, each handled once', async () => {
  const refs = Array.from({ length: 10 }, () => ({ kind: 'parcel', id: randomUUID() }));
  await Promise.all(refs.map((ref) => runtime.ask(ref, { type: 'CREATE' }, { cause: user })));
  const cutting = setInterval(() => proxy.cut(), 700);
  const texts = Array.from({ length: 20 }, (_, i) => `t${i}`);
  const done = Promise.all(
    refs.map(async (ref) => {
      for (const text of texts) {
        for (;;) {
          // A caller whose connection broke asks again with the same id.
          const answer = await runtime
            .ask(ref, { type: 'NOTE', text }, { cause: user, messageId: text })
            .catch(() => null);
          if (answer?.ok) break;
          await new Promise((resolve) => setTimeout(resolve, 20));
        }
      }
    }),
  );
  await done.finally(() => clearInterval(cutting));
  await expect.poll(() => runtime.read(refs[0] as never).catch(() => null)).not.toBeNull();
  for (const ref of refs) expect((await runtime.read(ref))?.context).toMatchObject({ notes: texts });
});

test('a connection that breaks between two statements of a transaction ends that transaction, and nothing else', async () => {
  const ref = { kind: 'parcel', id: randomUUID() };
  await runtime.ask(ref, { type: 'CREATE' }, { cause: user });
  const moving = runtime.transact(
    ref,
    { type: 'LABEL' },
    {
      cause: user,
      within: async (tx) => {
        const ended = new Promise((resolve) => (tx as unknown as pg.PoolClient).once('end', resolve));
        proxy.cut();
        await ended;
        return true;
      },
    },
  );
  await expect(moving).rejects.toThrow();
  const note = { type: 'NOTE', text: 'goes on' };
  await expect
    .poll(() => runtime.ask(ref, note, { cause: user, messageId: 'goes on' }).catch(() => null))
    .toMatchObject({ ok: true });
});

test('the feed misses no commit, also one that was begun first and ended last', async () => {
  const stop = new AbortController();
  const seen: string[] = [];
  const reading = (async () => {
    for await (const { id, seq } of runtime.feed(null, stop.signal)) seen.push(`${id}:${seq}`);
  })();
  await new Promise((resolve) => setTimeout(resolve, 100));
  const slow = new pg.Client({ connectionString: database.url });
  await slow.connect();
  await slow.query('begin');
  await slow.query(
    `insert into actor_events (kind, id, seq, at, outcome, event, message_id, cause, path, diff, machine_version)
     values ('parcel', 'slow', 1, 0, 'transition', '{"type":"X"}', 'x', '{"type":"system"}', '', '[]', 1)`,
  );
  const ref = { kind: 'parcel', id: randomUUID() };
  await runtime.ask(ref, { type: 'CREATE' }, { cause: user });
  await new Promise((resolve) => setTimeout(resolve, 200));
  expect(seen).toEqual([]); // what was committed later must wait for what may still come before it
  await slow.query('commit');
  await slow.end();
  await expect.poll(() => seen).toEqual(['slow:1', `${ref.id}:1`, `${ref.id}:2`]);
  stop.abort();
  await reading;
});

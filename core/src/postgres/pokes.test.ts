import { randomUUID } from 'node:crypto';
import { Redis } from 'ioredis';
import { afterAll, beforeAll, expect, test } from 'vitest';
import type { TestDatabase } from '../../../scripts/dev/test-database.ts';
import { testRedisUrl } from '../../../scripts/dev/testing.ts';
import { createPostgresRuntime, type PostgresRuntime } from '../index.ts';
import { rowsOf, runtimeDatabase } from '../testing/database.ts';
import { parcel } from '../testing/parcel.ts';

const user = { type: 'user', id: 'usr-1' } as const;
let database: TestDatabase;
let redis: Redis;
beforeAll(async () => {
  database = await runtimeDatabase();
  redis = new Redis(await testRedisUrl());
});
afterAll(async () => {
  redis?.disconnect();
  await database?.drop();
});

async function pair(options: { redis?: Redis }): Promise<[PostgresRuntime, PostgresRuntime]> {
  const make = async () => {
    const handlers = { pack: async () => ({ type: 'PACKED', weight: 1 }) };
    const runtime = createPostgresRuntime({ connection: database.url, definitions: [parcel], handlers, ...options });
    await runtime.start();
    return runtime;
  };
  const both = [await make(), await make()] as [PostgresRuntime, PostgresRuntime];
  await expect
    .poll(() => rowsOf(database.url, 'select count(*)::int from partitions where owner is not null group by owner'), {
      timeout: 5_000,
    })
    .toEqual([{ count: 8 }, { count: 8 }]);
  return both;
}

for (const transport of ['Redis', 'NOTIFY'] as const) {
  test(`another replica's actors answer without waiting for the safety net, by ${transport}`, async () => {
    const [one, two] = await pair(transport === 'Redis' ? { redis } : {});
    const refs = Array.from({ length: 10 }, () => ({ kind: 'parcel', id: randomUUID() }));
    await Promise.all(refs.map((ref) => one.ask(ref, { type: 'CREATE' }, { cause: user })));
    const times: number[] = [];
    for (const ref of refs) {
      for (const runtime of [one, two]) {
        const asked = performance.now();
        expect(await runtime.ask(ref, { type: 'TOUCH' }, { cause: user })).toMatchObject({ ok: true });
        times.push(performance.now() - asked);
      }
    }
    times.sort((a, b) => a - b);
    expect(times[Math.floor(times.length / 2)]).toBeLessThan(400); // the net alone would take half a second and more for half of them
    await Promise.all([one.stop(), two.stop()]);
  });
}

test('a replica that stops hands its actors over at once', async () => {
  const [one, two] = await pair({});
  await one.stop();
  const ref = { kind: 'parcel', id: randomUUID() };
  const answers = await Promise.all(
    Array.from({ length: 20 }, () => two.ask({ ...ref, id: randomUUID() }, { type: 'CREATE' }, { cause: user })),
  );
  expect(answers.every(({ ok }) => ok)).toBe(true);
  await two.stop();
});

test('timers beyond the horizon stay in their table and fire all the same', async () => {
  const handlers = { pack: async () => null };
  const runtime = createPostgresRuntime({ connection: database.url, definitions: [parcel], handlers });
  await runtime.start();
  const ref = { kind: 'parcel', id: randomUUID() };
  await runtime.ask(ref, { type: 'CREATE_NOW', packMs: 3_600_000 }, { cause: user });
  expect(await runtime.timers(ref)).toHaveLength(1);
  await runtime.stop();
  await rowsOf(
    database.url,
    'update actor_timers set due_at = 1000 * extract(epoch from clock_timestamp()) + 300 where id = $1',
    [ref.id],
  );
  const again = createPostgresRuntime({ connection: database.url, definitions: [parcel], handlers });
  await again.start();
  await expect.poll(async () => (await again.read(ref))?.path).toBe('failed');
  await again.stop();
});

test('a command under way while its actor changes hands is answered where it was asked (H7)', async () => {
  let open = (): void => undefined;
  const gate = new Promise<void>((resolve) => {
    open = resolve;
  });
  const pack = async () => {
    await gate;
    return { type: 'PACKED', weight: 1 };
  };
  const make = () => createPostgresRuntime({ connection: database.url, definitions: [parcel], handlers: { pack } });
  const [one, two] = [make(), make()];
  await one.start();
  const asked = Array.from({ length: 20 }, () =>
    one.ask(
      { kind: 'parcel', id: randomUUID() },
      { type: 'CREATE' },
      { cause: user, signal: AbortSignal.timeout(10_000) },
    ),
  );
  await two.start();
  await expect
    .poll(() => rowsOf(database.url, 'select count(*)::int from partitions where owner is not null group by owner'), {
      timeout: 5_000,
    })
    .toEqual([{ count: 8 }, { count: 8 }]);
  open();
  expect((await Promise.all(asked)).every(({ ok }) => ok)).toBe(true);
  await Promise.all([one.stop(), two.stop()]);
});

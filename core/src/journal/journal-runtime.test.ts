import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { createJournalRuntime, type EffectHandler, type JournalEntry, type JournalRuntime } from '../index.ts';
import { parcel } from '../testing/parcel.ts';

const user = { type: 'user', id: 'usr-1' } as const;
const pack: EffectHandler = async ({ input }) =>
  (input as { name: string }).name.includes('hang') ? null : { type: 'PACKED', weight: 3 };
const lock = async () => ({ release: () => undefined });
const ref = (id: string) => ({ kind: 'parcel', id });

let root: string;
beforeAll(async () => {
  root = await mkdtemp(join(tmpdir(), 'wrenn-journal-'));
});
afterAll(() => rm(root, { recursive: true, force: true }));

async function started(
  name: string,
  options: { compactBytes?: number; keepEntries?: number } = {},
): Promise<JournalRuntime> {
  const runtime = createJournalRuntime({
    dir: join(root, name),
    definitions: [parcel],
    handlers: { pack },
    lock,
    ...options,
  });
  await runtime.start();
  return runtime;
}

test('actors, timers, effects, answers and positions are there after a restart', async () => {
  const before = await started('restart');
  expect(await before.ask(ref('a'), { type: 'CREATE' }, { cause: user, messageId: 'm' })).toMatchObject({ ok: true });
  await before.ask(ref('hang'), { type: 'CREATE_NOW', packMs: 400 }, { cause: user });
  const [views, cursor, id] = [await before.list(), before.cursor, before.storeId];
  await before.stop();
  const after = await started('restart');
  expect(await after.list()).toEqual(views);
  expect([after.cursor, after.storeId]).toEqual([cursor, id]);
  expect(await after.ask(ref('a'), { type: 'CREATE' }, { cause: user, messageId: 'm' })).toMatchObject({ ok: true });
  expect(after.cursor).toBe(cursor);
  expect(await after.effects(ref('hang'))).toMatchObject([{ name: 'pack' }]);
  await expect.poll(async () => (await after.read(ref('hang')))?.path).toBe('failed');
  await after.stop();
});

test('a journal stays bounded, and its feed says when a cursor is too old', async () => {
  const runtime = await started('bounded', { compactBytes: 20_000, keepEntries: 50 });
  await runtime.ask(ref('a'), { type: 'CREATE' }, { cause: user });
  for (let i = 0; i < 200; i += 1) await runtime.ask(ref('a'), { type: 'TOUCH' }, { cause: user });
  await runtime.stop();
  const again = await started('bounded', { compactBytes: 20_000, keepEntries: 50 });
  expect((await again.read(ref('a')))?.seq).toBe(202);
  expect(again.cursor).toBe('202');
  const read = async (cursor: string) => {
    const stop = new AbortController();
    const entries: JournalEntry[] = [];
    for await (const entry of again.feed(cursor, stop.signal)) {
      entries.push(entry);
      if (entry.cursor === '202') stop.abort();
    }
    return entries;
  };
  expect((await read('190')).map(({ seq }) => seq)).toEqual(Array.from({ length: 12 }, (_, i) => 191 + i));
  await expect(read('1')).rejects.toMatchObject({ code: 'cursor_expired' });
  await again.stop();
});

import { expect, test } from 'vitest';
import { Latest } from './latest.ts';

test('a slow reader gets the latest value, and nothing piles up', async () => {
  const latest = new Latest<number>(new AbortController().signal);
  const reader = latest[Symbol.asyncIterator]();
  const first = reader.next();
  latest.put(1);
  expect(await first).toEqual({ done: false, value: 1 });
  for (let value = 2; value <= 1_000; value += 1) latest.put(value);
  expect(await reader.next()).toEqual({ done: false, value: 1_000 });
  const last = reader.next();
  latest.end();
  expect(await last).toEqual({ done: true, value: undefined });
});

test('the signal ends the reader', async () => {
  const controller = new AbortController();
  const reader = new Latest<number>(controller.signal)[Symbol.asyncIterator]();
  const next = reader.next();
  controller.abort();
  expect((await next).done).toBe(true);
});

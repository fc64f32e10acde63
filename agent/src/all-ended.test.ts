import { expect, test } from 'vitest';
import { allEnded } from './all-ended.ts';

test('all that is under way has ended when a failure is told, and the first of the list is the one', async () => {
  const slow = Promise.withResolvers<number>();
  const order: string[] = [];
  const all = allEnded([
    slow.promise.then(() => order.push('ended')),
    Promise.reject(new Error('first')),
    Promise.reject(new Error('second')),
  ]).catch((error: Error) => order.push(error.message));
  await new Promise((resolve) => setImmediate(resolve)); // whatever a failure alone would have set off
  slow.resolve(1);
  await all;
  expect(order).toEqual(['ended', 'first']);
  expect(await allEnded([1, Promise.resolve('two'), null])).toEqual([1, 'two', null]);
});

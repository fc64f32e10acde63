import { expect, test } from 'vitest';
import { Incarnations } from './incarnations.ts';

const SANDBOX = 'sbaaaaaaaaaaaaaaaaaaaa';

test('I1: a lower, a buried and an overtaken incarnation are refused, and so is an old owner', () => {
  const known = new Incarnations();
  expect(known.admit(SANDBOX, { incarnation: 1, epoch: 5 })).toMatchObject({ admit: true, join: false });
  known.note(SANDBOX, 1, 'ready', 5);
  expect(known.admit(SANDBOX, { incarnation: 1, epoch: 5 })).toMatchObject({ admit: true, join: true });
  expect(known.admit(SANDBOX, { incarnation: 1, epoch: 4 })).toMatchObject({ admit: false, code: 'stale_epoch' });
  expect(known.admit(SANDBOX, { incarnation: 2, epoch: 5 })).toMatchObject({
    code: 'earlier_incarnation_live',
    retryable: true,
  });
  known.note(SANDBOX, 1, 'gone', 0);
  expect(known.isStale(SANDBOX, 4)).toBe(true); // an epoch never falls
  expect(known.admit(SANDBOX, { incarnation: 1, epoch: 6 })).toMatchObject({ code: 'incarnation_buried' });
  known.note(SANDBOX, 3, 'starting', 6);
  expect(known.admit(SANDBOX, { incarnation: 2, epoch: 6 })).toMatchObject({ code: 'stale_incarnation' });
  expect(known.latest(SANDBOX)).toBe(3);
  expect(known.latest('sbbbbbbbbbbbbbbbbbbbbb')).toBeUndefined();
});

import { expect, test } from 'vitest';
import { WarmPool } from './warm-pool.ts';

test('memory of what is made ahead is not offered: that of guests, and 64 MB for each VMM', () => {
  const reserved = (warm: [string, number][], waiting: number) => WarmPool.reservedMb({ warm: new Map(warm), waiting });
  expect(reserved([['minimal', 1]], 2)).toBe(512 + 64 + 2 * 64);
  expect(
    reserved(
      [
        ['minimal', 2],
        ['other', 1],
      ],
      1,
    ),
  ).toBe(3 * (512 + 64) + 2 * 64);
  expect(reserved([['minimal', 0]], 2)).toBe(0);
});

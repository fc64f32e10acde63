import { expect, test } from 'vitest';
import { ago, bytes, duration, wholeSeconds } from './format.ts';

test('durations keep two parts and their width', () => {
  expect([0, 4.2, 340, 4_200, 59_000, 187_000, 7_500_000, 529_200_000].map(duration)).toEqual([
    '0 ms',
    '4.2 ms',
    '340 ms',
    '4.2 s',
    '59 s',
    '3 m 07 s',
    '2 h 05 m',
    '6 d 03 h',
  ]);
  expect(wholeSeconds(999)).toBe('0 s');
  expect([500, 61_000].map(ago)).toEqual(['now', '1 m 01 s ago']);
});

test('sizes are powers of 1024', () => {
  expect([0, 1_023, 1_536, 104_857_600, 5_368_709_120].map(bytes)).toEqual([
    '0 B',
    '1023 B',
    '1.5 KB',
    '100 MB',
    '5.0 GB',
  ]);
});

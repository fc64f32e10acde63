import { expect, test } from 'vitest';
import { columnsOf } from './columns.ts';
import { timeLabels } from './time-labels.ts';

test('MET2: a pause is a gap in the line, a late point is none', () => {
  const point = (ms: number) => ({ at: new Date(ms).toISOString(), value: ms });
  const points = [0, 500, 2_400, 60_000, 60_500].map(point);
  expect(columnsOf(points, 500, [({ value }) => value])).toEqual([
    [0, 0.5, 2.4, 2.9, 60, 60.5],
    [0, 500, 2_400, null, 60_000, 60_500],
  ]);
  expect(columnsOf([], 500, [() => 0])).toEqual([[], []]);
});

test('CON1: labels of a time axis are as short as its steps allow', () => {
  const at = (...time: [number, number, number]) => new Date(2026, 10, 27, ...time).getTime() / 1_000;
  expect(timeLabels([at(1, 2, 3), at(1, 2, 33)])).toEqual(['01:02:03', '01:02:33']);
  expect(timeLabels([at(1, 2, 0), at(1, 7, 0)])).toEqual(['01:02', '01:07']);
  expect(timeLabels([at(0, 0, 0), at(48, 0, 0)])).toEqual(['11-27', '11-29']);
});

import { expect, test } from 'vitest';
import { Series } from './series.ts';

const HOUR = 3_600_000;
const START = Date.UTC(2026, 0, 1);
const usage = (cpuPct: number, more: { memKib?: number; rssKib?: number } = {}) => ({
  cpuPct,
  rssKib: more.rssKib ?? 1_000,
  memKib: more.memKib ?? Number.NaN,
  diskKib: Number.NaN,
});

test('MET2: 10 min of 500 ms, 2 h of 30 s, 24 h of 5 min, each full and no longer', () => {
  const series = new Series();
  const end = START + 25 * HOUR;
  for (let at = START; at < end; at += 500) series.add(at, usage(50));
  const spans = ([600, 7_200, 86_400] as const).map((range) => {
    const { stepMs, points } = series.points(range, end - 500);
    return { stepMs, count: points.length, first: points[0]?.at, last: points.at(-1)?.at };
  });
  expect(spans).toEqual([
    { stepMs: 500, count: 1_200, first: end - 600_000, last: end - 500 },
    { stepMs: 30_000, count: 240, first: end - 2 * HOUR, last: end - 30_000 },
    { stepMs: 300_000, count: 288, first: end - 24 * HOUR, last: end - 300_000 },
  ]);
});

test('MET2: a step has the mean of CPU and the maximum of memory; what is not known yet does not count', () => {
  const series = new Series();
  series.add(START, usage(10, { rssKib: 5 }));
  series.add(START + 500, usage(30, { memKib: 900 }));
  series.add(START + 1_000, usage(50, { memKib: 700 }));
  const [step] = series.points(7_200, START + 1_000).points;
  expect(step).toEqual({ at: START, cpuPct: 30, rssKib: 1_000, memKib: 900, diskKib: Number.NaN });
});

test('MET2: a pause is a gap, and what is older than the ring is not shown again', () => {
  const series = new Series();
  series.add(START, usage(1));
  const later = START + 2 * HOUR - 30_000;
  series.add(later, usage(2));
  expect(series.points(600, later).points.map(({ cpuPct }) => cpuPct)).toEqual([2]);
  expect(series.points(7_200, later).points.map(({ at }) => at)).toEqual([START, later]);
  expect(series.points(7_200, later + 30_000).points.map(({ at }) => at)).toEqual([later]);
  expect(series.points(7_200, later + 48 * HOUR).points).toEqual([]);
});

test('MET2: a file is read back as it was, and a damaged one not at all', () => {
  const series = new Series();
  series.memTotalKib = 262_144;
  for (let at = START; at < START + HOUR; at += 500) series.add(at, usage((at / 500) % 100, { memKib: 12 }));
  const bytes = series.toBytes();
  expect(bytes.length).toBeLessThan(64 * 1024);
  const again = Series.fromBytes(bytes);
  const now = START + HOUR;
  for (const range of [600, 7_200, 86_400] as const)
    expect(again?.points(range, now)).toEqual(series.points(range, now));
  expect(again?.memTotalKib).toBe(262_144);
  for (const at of [0, 9, 20_000, bytes.length - 1]) {
    const damaged = Buffer.from(bytes);
    damaged.writeUInt8((damaged.readUInt8(at) + 1) % 256, at);
    expect(Series.fromBytes(damaged), `byte ${at}`).toBeNull();
  }
  expect(Series.fromBytes(bytes.subarray(1))).toBeNull();
  expect(Series.fromBytes(Buffer.alloc(0))).toBeNull();
});

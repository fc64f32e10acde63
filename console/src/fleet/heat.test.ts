import { expect, test } from 'vitest';
import { heatOfCounts, heatOfMembers, statesOfPath } from './heat.ts';

const NOW = 1_000_000_000;
const member = (id: string, path: string, ago: number) => ({ kind: 'sandbox', id, path, since: NOW - ago, seq: 1 });

test('CON2: a path counts for its leaves and for what encloses them, once', () => {
  expect([...statesOfPath('running.idle.off+running.operation.none')].sort()).toEqual([
    'running',
    'running.idle',
    'running.idle.off',
    'running.operation',
    'running.operation.none',
  ]);
});

test('CON2: count, median dwell and stuck per state; who has ended counts nowhere', () => {
  const members = [
    member('a', 'running.idle.off', 10_000),
    member('b', 'running.idle.off', 60_000),
    member('c', 'running.idle.armed', 3_600_000),
    member('d', 'stopped', 5),
    { ...member('e', 'running.idle.off', 5), kind: 'vm' },
  ];
  const heat = heatOfMembers(members, 'sandbox', NOW, new Set(['c']), new Set(['stopped']));
  expect(heat.get('running')).toMatchObject({ count: 3, dwell: '1 m 00 s', stuck: 1, intensity: 1 });
  expect(heat.get('running.idle.armed')).toMatchObject({ count: 1, dwell: '1 h 00 m', stuck: 1 });
  expect(heat.get('running.idle.off')).toMatchObject({ count: 2, stuck: 0 });
  expect(heat.has('stopped')).toBe(false);
});

test('CON2: the same from counts, where there are too many actors to list', () => {
  const row = { kind: 'sandbox', oldest_since: '2026-01-01T00:00:00.000Z', stuck: 0, median_dwell_ms: 5_000 };
  const heat = heatOfCounts(
    [
      { ...row, path: 'running.idle.off', count: 20_000 },
      { ...row, path: 'running.idle.armed', count: 5_000, stuck: 7 },
    ],
    'sandbox',
  );
  expect(heat.get('running')).toMatchObject({ count: 25_000, stuck: 7 });
});

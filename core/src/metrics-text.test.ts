import { expect, test } from 'vitest';
import { metricsText, one, ProcessMetrics } from './metrics-text.ts';

test('MET2: families are written as Prometheus reads them', () => {
  const samples = [
    { labels: { kind: 'sandbox', path: 'a "b"\n\\c' }, value: 3 },
    { labels: { kind: 'host', path: 'online' }, value: 0.5 },
  ];
  expect(metricsText([{ name: 'wrenn_actors', type: 'gauge', help: 'Actors\nin all.', samples }])).toBe(
    '# HELP wrenn_actors Actors\\nin all.\n# TYPE wrenn_actors gauge\n' +
      'wrenn_actors{kind="sandbox",path="a \\"b\\"\\n\\\\c"} 3\nwrenn_actors{kind="host",path="online"} 0.5\n',
  );
  expect(metricsText([one('x_total', 'counter', 'X.', 1)])).toBe(
    '# HELP x_total X.\n# TYPE x_total counter\nx_total 1\n',
  );
});

test('MET2: a program tells what it uses itself', () => {
  const metrics = new ProcessMetrics();
  try {
    const families = metrics.families();
    expect(families.map(({ name }) => name)).toEqual([
      'process_cpu_seconds_total',
      'process_resident_memory_bytes',
      'process_start_time_seconds',
      'process_open_fds',
      'nodejs_eventloop_delay_seconds',
    ]);
    expect(families.flatMap(({ samples }) => samples).every(({ value }) => Number.isFinite(value))).toBe(true);
  } finally {
    metrics.close();
  }
});

import { readdirSync } from 'node:fs';
import { type IntervalHistogram, monitorEventLoopDelay } from 'node:perf_hooks';

/** One number with what tells it from others of its family. */
export interface Sample {
  readonly labels?: Readonly<Record<string, string>>;
  readonly value: number;
}

export interface MetricFamily {
  /** `wrenn_actors`; a counter's ends in `_total`. */
  readonly name: string;
  readonly type: 'gauge' | 'counter';
  readonly help: string;
  readonly samples: readonly Sample[];
}

/** Media type of `metricsText`. */
export const METRICS_CONTENT_TYPE = 'text/plain; version=0.0.4; charset=utf-8';

/** Prometheus' text format (prometheus.io/docs/instrumenting/exposition_formats). */
export function metricsText(families: readonly MetricFamily[]): string {
  return families.map(familyText).join('');
}

function familyText({ name, type, help, samples }: MetricFamily): string {
  const lines = samples.map(({ labels, value }) => `${name}${labelsText(labels)} ${value}\n`);
  return `# HELP ${name} ${help.replaceAll('\\', '\\\\').replaceAll('\n', '\\n')}\n# TYPE ${name} ${type}\n${lines.join('')}`;
}

function labelsText(labels: Sample['labels'] = {}): string {
  const pairs = Object.entries(labels).map(([name, value]) => `${name}="${escapeLabel(value)}"`);
  return pairs.length === 0 ? '' : `{${pairs.join(',')}}`;
}

function escapeLabel(value: string): string {
  return value.replaceAll('\\', '\\\\').replaceAll('"', '\\"').replaceAll('\n', '\\n');
}

/** Nanoseconds per second. */
const NANO = 1e9;
/** How often the event loop's delay is looked at, milliseconds: the histogram has the time between two looks. */
const LOOP_RESOLUTION_MS = 20;

/** What this program itself uses, by the names that Prometheus' client libraries have agreed upon. */
export class ProcessMetrics {
  readonly #delay: IntervalHistogram = monitorEventLoopDelay({ resolution: LOOP_RESOLUTION_MS });

  constructor() {
    this.#delay.enable();
  }

  /** The delay's quantiles are of the time since the last call. */
  families(): MetricFamily[] {
    const { user, system } = process.cpuUsage();
    const started = Date.now() / 1_000 - process.uptime();
    const quantile = (percentile: number) => ({
      labels: { quantile: String(percentile / 100) },
      value: Math.max(0, this.#delay.percentile(percentile) / NANO - LOOP_RESOLUTION_MS / 1_000),
    });
    const delays = [50, 99].map(quantile);
    this.#delay.reset();
    return [
      one('process_cpu_seconds_total', 'counter', 'CPU time.', (user + system) / 1e6),
      one('process_resident_memory_bytes', 'gauge', 'Resident memory.', process.memoryUsage.rss()),
      one('process_start_time_seconds', 'gauge', 'Start, seconds since 1970.', started),
      one('process_open_fds', 'gauge', 'Open file descriptors.', readdirSync('/proc/self/fd').length),
      { name: 'nodejs_eventloop_delay_seconds', type: 'gauge', help: 'How late timers were.', samples: delays },
    ];
  }

  close(): void {
    this.#delay.disable();
  }
}

/** A family of one number. */
export function one(name: string, type: MetricFamily['type'], help: string, value: number): MetricFamily {
  return { name, type, help, samples: [{ value }] };
}

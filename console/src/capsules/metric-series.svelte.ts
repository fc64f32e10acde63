import type { components } from '@wrenn/sdk/openapi';
import { api, ok } from '../lib/api.ts';
import { backOff, openSocket } from '../lib/socket.ts';

export const RANGES = ['10m', '2h', '24h'] as const;
export type Range = (typeof RANGES)[number];
export type MetricsPoint = components['schemas']['MetricsPoint'];

const RANGE_MS: Readonly<Record<Range, number>> = { '10m': 600_000, '2h': 7_200_000, '24h': 86_400_000 };
/** Beside each other no screen shows more. */
const SHORT_STEP_MS = 500;

/** A capsule's measurements: the past once, then what is pushed. */
export class MetricSeries {
  points = $state.raw<MetricsPoint[]>([]);
  vcpus = $state(0);
  loaded = $state(false);
  live = $state(false);
  error = $state.raw<unknown>(null);

  readonly #id: string;
  #range: Range = '10m';
  /** Milliseconds between two points. */
  stepMs = $state(SHORT_STEP_MS);
  #socket: WebSocket | null = null;
  #timer: ReturnType<typeof setTimeout> | undefined;
  #attempts = 0;

  constructor(id: string) {
    this.#id = id;
  }

  async show(range: Range): Promise<void> {
    this.#range = range;
    try {
      const params = { path: { id: this.#id }, query: { range } };
      const answer = await ok(api.GET('/v1/sandboxes/{id}/metrics', { params }));
      if (this.#range !== range) return;
      this.points = answer.points;
      this.vcpus = answer.vcpus;
      this.stepMs = answer.step_ms;
      this.error = null;
    } catch (error) {
      this.error = error;
    }
    this.loaded = true;
  }

  /** What it uses now is told while it runs. */
  follow(running: boolean): void {
    if (!running) this.end();
    else if (!this.#socket) this.#open();
  }

  end(): void {
    clearTimeout(this.#timer);
    const socket = this.#socket;
    this.#socket = null;
    socket?.close(1000);
    this.live = false;
  }

  #open(): void {
    const socket = openSocket(`/v1/sandboxes/${this.#id}/metrics/stream`);
    this.#socket = socket;
    socket.onmessage = ({ data }) => {
      const frame = JSON.parse(data as string) as { type: string } & MetricsPoint;
      if (frame.type === 'point') this.#take(frame);
    };
    socket.onclose = () => {
      if (this.#socket !== socket) return;
      this.#socket = null;
      this.live = false;
      // The connection was lost, or it does not run any more, which its actor tells.
      this.#timer = setTimeout(() => this.#open(), backOff(++this.#attempts));
    };
  }

  #take(point: MetricsPoint): void {
    this.live = true;
    this.#attempts = 0;
    const at = Date.parse(point.at);
    const last = this.points.at(-1);
    // Longer ranges have longer steps: points between them would only be wider lines.
    if (last && at - Date.parse(last.at) < this.stepMs * 0.9) return;
    const oldest = at - RANGE_MS[this.#range];
    this.points = [...this.points.filter((known) => Date.parse(known.at) >= oldest), point];
  }
}

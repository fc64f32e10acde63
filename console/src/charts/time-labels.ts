import { clockTime, exact } from '../lib/format.ts';

const DAY_SEC = 86_400;

/** Ticks of a time axis, seconds since 1970: as short as their distance allows, in the reader's zone. */
export function timeLabels(ticks: readonly number[]): string[] {
  const step = (ticks[1] ?? 0) - (ticks[0] ?? 0);
  return ticks.map((at) => {
    if (step >= DAY_SEC) return exact(at * 1_000).slice(5, 10);
    const time = clockTime(new Date(at * 1_000));
    return step >= 60 ? time.slice(0, 5) : time;
  });
}

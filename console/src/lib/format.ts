/** How times, sizes and other numbers read. All are short and keep their width, so that nothing jumps. */

const UNITS = [
  ['d', 86_400_000],
  ['h', 3_600_000],
  ['m', 60_000],
  ['s', 1_000],
] as const;

/** `340 ms`, `4.2 s`, `3 m 07 s`, `2 h 05 m`, `6 d 03 h`. */
export function duration(ms: number): string {
  if (ms < 0) return '0 s';
  if (ms < 1_000) return `${ms < 10 && ms > 0 ? ms.toFixed(1) : Math.round(ms)} ms`;
  if (ms < 10_000) return `${(ms / 1_000).toFixed(1)} s`;
  return wholeSeconds(ms);
}

/** As `duration`, but without parts of a second: for what counts on or down. */
export function wholeSeconds(ms: number): string {
  if (ms < 1_000) return '0 s';
  const first = UNITS.findIndex(([, size]) => ms >= size);
  const [name, size] = UNITS[first] ?? UNITS[3];
  const below = UNITS[first + 1];
  if (!below) return `${Math.floor(ms / size)} ${name}`;
  const rest = Math.floor((ms % size) / below[1]);
  return `${Math.floor(ms / size)} ${name} ${String(rest).padStart(2, '0')} ${below[0]}`;
}

export function ago(ms: number): string {
  return ms < 1_000 ? 'now' : `${wholeSeconds(ms)} ago`;
}

/** `2026-11-27 00:13:09.262`, in the reader's zone. */
export function exact(time: number | string): string {
  const date = new Date(time);
  const pad = (value: number, width = 2) => String(value).padStart(width, '0');
  const day = `${date.getFullYear()}-${pad(date.getMonth() + 1)}-${pad(date.getDate())}`;
  return `${day} ${clockTime(date)}.${pad(date.getMilliseconds(), 3)}`;
}

export function clockTime(date: Date): string {
  return [date.getHours(), date.getMinutes(), date.getSeconds()].map((part) => String(part).padStart(2, '0')).join(':');
}

const SIZES = ['B', 'KB', 'MB', 'GB', 'TB'];

/** Powers of 1024, as file managers count. */
export function bytes(count: number): string {
  let size = 0;
  let value = count;
  while (value >= 1_024 && size < SIZES.length - 1) {
    value /= 1_024;
    size++;
  }
  return `${size === 0 || value >= 100 ? Math.round(value) : value.toFixed(1)} ${SIZES[size]}`;
}

/** Steps of an axis of bytes: round numbers are powers of two. */
export const BYTE_STEPS: readonly number[] = Array.from({ length: 30 }, (_, power) => 2 ** (power + 16));

export function count(value: number): string {
  return value.toLocaleString('en-US');
}

export function plural(value: number, one: string, many = `${one}s`): string {
  return `${count(value)} ${value === 1 ? one : many}`;
}

/**
 * The one line that a benchmark prints per result, read again by `bench/run.ts`:
 *
 *     <what>: <measured>, ratio <number> (bar <bar>)
 */
export function resultLine(what: string, measured: string, ratio: number, bar: string): string {
  return `${what}: ${measured}, ratio ${ratio.toFixed(2)} (bar ${bar})`;
}

export interface ResultLine {
  readonly what: string;
  readonly measured: string;
  readonly value: string;
  readonly bar: string;
}

const LINE = /^(.+?): (.+), (ratio [\d.]+|[\d.]+ (?:s|ms|KB)) \(bar (.+)\)$/;

export function parseResultLine(line: string): ResultLine | null {
  const [, what, measured, value, bar] = LINE.exec(line) ?? [];
  return what && measured && value && bar ? { what, measured, value, bar } : null;
}

export const perSecond = (count: number, ms: number): number => Math.round((count * 1000) / ms);

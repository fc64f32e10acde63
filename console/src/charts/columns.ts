/** So many steps without a point are a gap: one may come late. */
const LATE_STEPS = 4;

/** Columns of a chart: seconds since 1970, and the values of each line; null where nothing was measured for a while. */
export function columnsOf<T extends { readonly at: string }>(
  points: readonly T[],
  stepMs: number,
  values: readonly ((point: T) => number | null)[],
): (number | null)[][] {
  const columns: (number | null)[][] = [[], ...values.map(() => [])];
  let before = Number.NaN;
  const add = (at: number, row: readonly (number | null)[]) => {
    for (const [column, value] of [at / 1_000, ...row].entries()) columns[column]?.push(value);
  };
  for (const point of points) {
    const at = Date.parse(point.at);
    if (at - before > stepMs * LATE_STEPS) {
      add(
        before + stepMs,
        values.map(() => null),
      );
    }
    add(
      at,
      values.map((value) => value(point)),
    );
    before = at;
  }
  return columns;
}

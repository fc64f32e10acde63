import type { Point } from './layout.ts';

const CORNER = 6;

/** A line with rounded corners as an SVG path. */
export function roundedPath(points: readonly Point[]): string {
  const [first, ...rest] = points;
  if (!first) return '';
  let path = `M${first[0]} ${first[1]}`;
  rest.forEach((corner, index) => {
    const next = rest[index + 1];
    if (!next) {
      path += `L${corner[0]} ${corner[1]}`;
      return;
    }
    const before = towards(corner, points[index] as Point);
    const after = towards(corner, next);
    path += `L${before[0]} ${before[1]}Q${corner[0]} ${corner[1]} ${after[0]} ${after[1]}`;
  });
  return path;
}

/** The point `CORNER` before a corner, or halfway where the side is short. */
function towards([x, y]: Point, [toX, toY]: Point): Point {
  const length = Math.hypot(toX - x, toY - y);
  if (length === 0) return [x, y];
  const step = Math.min(CORNER, length / 2) / length;
  return [x + (toX - x) * step, y + (toY - y) * step];
}

const HEAD = 5;

/** The arrow's head at the end of a line, as `points` of a polygon. */
export function arrowHead(points: readonly Point[]): string {
  const tip = points.at(-1);
  const before = points.findLast((point) => tip && (point[0] !== tip[0] || point[1] !== tip[1]));
  if (!tip || !before) return '';
  const angle = Math.atan2(tip[1] - before[1], tip[0] - before[0]);
  const wing = (turn: number) =>
    `${(tip[0] - HEAD * 1.5 * Math.cos(angle + turn)).toFixed(1)},${(tip[1] - HEAD * 1.5 * Math.sin(angle + turn)).toFixed(1)}`;
  return `${tip[0]},${tip[1]} ${wing(0.45)} ${wing(-0.45)}`;
}

export interface Spot {
  readonly x: number;
  readonly y: number;
  /** The line runs up and down there: text stands beside it, not on it. */
  readonly vertical: boolean;
  /** Of that part. */
  readonly length: number;
}

/** The middle of the longest straight part: where a label has most room. */
export function labelSpot(points: readonly Point[]): Spot {
  let best: Spot = { x: 0, y: 0, vertical: false, length: -1 };
  points.forEach(([x, y], index) => {
    const next = points[index + 1];
    if (!next) return;
    const length = Math.abs(next[0] - x) + Math.abs(next[1] - y);
    if (length <= best.length) return;
    best = { x: (x + next[0]) / 2, y: (y + next[1]) / 2, vertical: next[0] === x, length };
  });
  return best;
}

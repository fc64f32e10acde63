import type { Box, Point } from './layout.ts';

/** A line from the border of one box to the border of another. */
export function straightLine(from: Box, to: Box): Point[] {
  return [border(from, centre(to)), border(to, centre(from))];
}

function centre([x, y, width, height]: Box): Point {
  return [x + width / 2, y + height / 2];
}

/** Where the line from a box's centre to a point leaves the box. */
function border(box: Box, [toX, toY]: Point): Point {
  const [x, y] = centre(box);
  const [dx, dy] = [toX - x, toY - y];
  const scale = Math.min(
    dx === 0 ? Number.POSITIVE_INFINITY : box[2] / 2 / Math.abs(dx),
    dy === 0 ? Number.POSITIVE_INFINITY : box[3] / 2 / Math.abs(dy),
  );
  return Number.isFinite(scale) ? [Math.round(x + dx * scale), Math.round(y + dy * scale)] : [x, y];
}

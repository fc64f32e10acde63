/**
 * The console's heat map in a real browser while a recorded feed comes: frames a second, share of the main thread, growth
 * of the heap. Needs Debian's chromium.
 *
 *     node bench/console/feed.ts
 */
import { measureFeedLoad } from '../../e2e/testing/feed-load.ts';

const ACTORS = 10_000;
const PER_SECOND = 1_000;
const SECONDS = 20;

const { framesPerSecond, mainThread, heapBytes } = await measureFeedLoad(ACTORS, PER_SECOND, SECONDS);
const grown = (heapBytes.after - heapBytes.before) / 1e6;
console.log(
  `console, ${ACTORS} actors, ${PER_SECOND} transitions/s: ${framesPerSecond.toFixed(0)} frames/s, main thread ${(mainThread * 100).toFixed(0)} %, heap grown by ${grown.toFixed(1)} MB, ratio ${(framesPerSecond / 30).toFixed(2)} (bar >= 1: 30 frames/s)`,
);

import { beforeEach } from 'vitest';
import { Clock } from './actor-in-memory.ts';

/** The clock of a file's tests: each begins at the same time. */
export function testClock(): Clock {
  const clock = new Clock();
  const { now } = clock;
  beforeEach(() => {
    clock.now = now;
  });
  return clock;
}

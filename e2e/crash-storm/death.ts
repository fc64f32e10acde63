import type { Random } from './random.ts';

/**
 * Where a program kills itself (SIGKILL) in this life, counted from its start or from when it serves: at its n-th durable
 * write, before it is sent, while it is under way or when it is there and nobody was told; or a time later.
 */
export type Death = { readonly from: 'start' | 'serving' } & (
  | { readonly at: 'write'; readonly n: number; readonly when: 'before' | 'during' | 'after' }
  | { readonly at: 'time'; readonly ms: number }
);

/** The environment variable that carries it. */
export const DEATH = 'STORM_DEATH';

/** Starting up is hit as well, however long it takes. A create takes a program about 6 writes, a VM made ahead too. */
export function randomDeath(random: Random): Death {
  const from = random.chance(0.3) ? 'start' : 'serving';
  if (random.chance(0.3)) return { from, at: 'time', ms: random.whole(100, from === 'start' ? 2_000 : 5_000) };
  const n = random.whole(1, random.of([4, 16, 60]));
  return { from, at: 'write', n, when: random.of(['before', 'during', 'after']) };
}

export function sayDeath(death: Death): string {
  const since = death.from === 'start' ? 'of its life' : 'after it served';
  return death.at === 'time' ? `${death.ms} ms ${since}` : `${death.when} write ${death.n} ${since}`;
}

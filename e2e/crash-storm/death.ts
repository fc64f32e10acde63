import type { Random } from './random.ts';

/**
 * Where a program kills itself (SIGKILL) in this life: at its n-th durable write, before it is sent, while it is under way
 * or when it is there and nobody was told; or a time after its start.
 */
export type Death =
  | { readonly at: 'write'; readonly n: number; readonly when: 'before' | 'during' | 'after' }
  | { readonly at: 'time'; readonly ms: number };

/** The environment variable that carries it. */
export const DEATH = 'STORM_DEATH';

/** Most lives are short, so that starting up is hit as well; a create takes a program about 6 writes, a VM made ahead too. */
export function randomDeath(random: Random): Death {
  if (random.chance(0.3)) return { at: 'time', ms: random.whole(300, 2_500) };
  return { at: 'write', n: random.whole(1, random.of([4, 16, 60])), when: random.of(['before', 'during', 'after']) };
}

export function sayDeath(death: Death): string {
  return death.at === 'time' ? `${death.ms} ms after its start` : `${death.when} write ${death.n}`;
}

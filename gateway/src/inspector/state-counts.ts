import { z } from 'zod';
import type { Services } from '../services.ts';
import { summarizeMirrors } from './vm-mirrors.ts';

/** The actors in one state, for the heat map and the stuck finder. */
export const stateCount = z
  .object({
    kind: z.string(),
    path: z.string(),
    count: z.int(),
    stuck: z.int().meta({ description: 'In a work state past its deadline, or with an effect that was given up' }),
    oldest_since: z.iso.datetime(),
    median_dwell_ms: z.number(),
  })
  .meta({ id: 'StateCount' });

/** Counts are at most so old. */
export const COUNTS_MS = 1_000;

export type StateCountJson = z.output<typeof stateCount>;

/** One row per kind and state of actors that are not done; a team's or (null) all. */
export async function countStates(
  { runtime, sql }: Pick<Services, 'runtime' | 'sql'>,
  teamId: string | null,
): Promise<StateCountJson[]> {
  const rows = await Promise.all([runtime.summary(teamId), summarizeMirrors(sql, teamId)]);
  return rows.flat().map((row) => ({
    kind: row.kind,
    path: row.path,
    count: row.count,
    stuck: row.stuck,
    oldest_since: new Date(row.oldestSince).toISOString(),
    median_dwell_ms: row.medianDwellMs,
  }));
}

/** Counts of a team's (null: all) states, for all viewers of this replica together. */
export class StateCounts {
  readonly #load: (teamId: string | null) => Promise<StateCountJson[]>;
  readonly #known = new Map<string | null, { readonly until: number; readonly rows: Promise<StateCountJson[]> }>();

  constructor(services: Pick<Services, 'runtime' | 'sql'>) {
    this.#load = (teamId) => countStates(services, teamId);
  }

  /** At most `COUNTS_MS` old. */
  get(teamId: string | null): Promise<StateCountJson[]> {
    const now = performance.now();
    for (const [key, { until }] of this.#known) if (until < now) this.#known.delete(key);
    const known = this.#known.get(teamId);
    if (known) return known.rows;
    const rows = this.#load(teamId);
    this.#known.set(teamId, { until: now + COUNTS_MS, rows });
    rows.catch(() => this.#known.delete(teamId));
    return rows;
  }
}

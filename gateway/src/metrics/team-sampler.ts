import type { Logger } from '@wrenn/core';
import type { Pool } from 'pg';
import { Periodic } from '../periodic.ts';
import { pruneTeamSamples, SAMPLE_MS, sampleTeams } from './team-sample.ts';

/** How many samples lie between two looks for old ones: an hour. */
const PRUNE_EVERY = 360;

/** Samples what teams have, every 10 s of the clock (MET1). */
export function teamSampler(sql: Pool, log: Logger): Periodic {
  let turn = 0;
  const sample = async () => {
    try {
      await sampleTeams(sql);
      if (turn % PRUNE_EVERY === 0) await pruneTeamSamples(sql);
    } catch (err) {
      log.warn({ err }, 'a sample of the teams is missing');
    }
    turn += 1;
  };
  return new Periodic(sample, () => SAMPLE_MS - (Date.now() % SAMPLE_MS));
}

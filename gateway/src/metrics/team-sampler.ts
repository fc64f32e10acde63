import { setTimeout as sleep } from 'node:timers/promises';
import type { Logger } from '@wrenn/core';
import type { Pool } from 'pg';
import { pruneTeamSamples, SAMPLE_MS, sampleTeams } from './team-sample.ts';

/** How many samples lie between two looks for old ones: an hour. */
const PRUNE_EVERY = 360;

/** Samples what teams have, every 10 s of the clock, until it is stopped (MET1). */
export class TeamSampler {
  readonly #sql: Pool;
  readonly #log: Logger;
  readonly #stop = new AbortController();
  #running: Promise<void> = Promise.resolve();

  constructor(sql: Pool, log: Logger) {
    this.#sql = sql;
    this.#log = log;
  }

  start(): void {
    this.#running = this.#run(this.#stop.signal);
  }

  async stop(): Promise<void> {
    this.#stop.abort();
    await this.#running;
  }

  async #run(signal: AbortSignal): Promise<void> {
    for (let turn = 0; !signal.aborted; turn += 1) {
      await this.#sample(turn % PRUNE_EVERY === 0);
      const untilNext = SAMPLE_MS - (Date.now() % SAMPLE_MS);
      await sleep(untilNext, undefined, { signal }).catch(() => undefined);
    }
  }

  async #sample(prune: boolean): Promise<void> {
    try {
      await sampleTeams(this.#sql);
      if (prune) await pruneTeamSamples(this.#sql);
    } catch (err) {
      this.#log.warn({ err }, 'a sample of the teams is missing');
    }
  }
}

import { setTimeout as sleep } from 'node:timers/promises';
import { type Logger, query } from '@wrenn/core';
import { z } from 'zod';
import { type EgressServices, enforceEgress } from './enforce-egress.ts';

/** Between two looks; nobody waits for them. */
const REVIEW_MS = 2_000;
/** A change younger than this is still in the hands of the request that makes it. Each further try waits as long. */
const OWN_TIME_SEC = 10;
/** Of one look: a host that hangs costs 5 s for each. */
const BATCH = 50;

const row = z.object({ sandbox_id: z.string() });

/**
 * Repeats changes of egress policies that no host has confirmed (NET4): the host was away, the sandbox was just starting,
 * or the replica died in between. On every replica; twice is harmless.
 */
export class EgressKeeper {
  readonly #services: EgressServices;
  readonly #log: Logger;
  readonly #stop = new AbortController();
  #running: Promise<void> = Promise.resolve();

  constructor(services: EgressServices, log: Logger) {
    this.#services = services;
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
    while (!signal.aborted) {
      await this.#review(signal).catch((err) => this.#log.warn({ err }, 'egress policies cannot be looked after'));
      await sleep(REVIEW_MS, undefined, { signal }).catch(() => undefined);
    }
  }

  async #review(signal: AbortSignal): Promise<void> {
    const open = await query(
      this.#services.sql,
      row,
      `select sandbox_id from egress_changes where noted_at < now() - make_interval(secs => $1)
        order by noted_at limit $2`,
      [OWN_TIME_SEC, BATCH],
    );
    for (const { sandbox_id: id } of open) {
      if (signal.aborted) return;
      try {
        await enforceEgress(this.#services, id);
      } catch (err) {
        this.#log.warn({ err, sandbox: id }, 'an egress policy is not in force on its host yet');
      }
    }
  }
}

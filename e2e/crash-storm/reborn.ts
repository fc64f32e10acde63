import { setTimeout as sleep } from 'node:timers/promises';
import type { Daemon } from '../../scripts/lib/daemon.ts';

/** It refuses to start while the killed one's processes are not all gone. */
const TRIES = 10;
const PAUSE_MS = 200;

/** A daemon that is killed and started again, at the same place with the same data. */
export class Reborn<D extends Daemon> {
  readonly #start: () => Promise<D>;
  #daemon: D;
  #restarting: Promise<void> | null = null;
  #kills = 0;

  private constructor(start: () => Promise<D>, daemon: D) {
    this.#start = start;
    this.#daemon = daemon;
  }

  static async start<D extends Daemon>(start: () => Promise<D>): Promise<Reborn<D>> {
    return new Reborn(start, await start());
  }

  get kills(): number {
    return this.#kills;
  }

  get isAway(): boolean {
    return this.#restarting !== null;
  }

  get daemon(): D {
    return this.#daemon;
  }

  /** Resolves when it serves again. */
  kill(): Promise<void> {
    this.#restarting ??= this.#again();
    return this.#restarting;
  }

  async stop(): Promise<void> {
    await this.#restarting?.catch(() => undefined);
    await this.#daemon.stop();
  }

  async #again(): Promise<void> {
    this.#kills += 1;
    try {
      await this.#daemon.kill();
      for (let tries = 1; ; tries += 1) {
        try {
          this.#daemon = await this.#start();
          return;
        } catch (error) {
          if (tries >= TRIES) throw error;
          await sleep(PAUSE_MS);
        }
      }
    } finally {
      this.#restarting = null;
    }
  }
}

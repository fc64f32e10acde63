import { setTimeout as sleep } from 'node:timers/promises';

/** Work that is done at once, and again after each pause, until it is stopped. `work` handles its own failures. */
export class Periodic {
  readonly #work: (signal: AbortSignal) => Promise<void>;
  readonly #pauseMs: () => number;
  readonly #stop = new AbortController();
  #running: Promise<void> = Promise.resolve();

  constructor(work: (signal: AbortSignal) => Promise<void>, pauseMs: () => number) {
    this.#work = work;
    this.#pauseMs = pauseMs;
  }

  start(): void {
    this.#running = this.#run(this.#stop.signal);
  }

  /** Resolves when what was under way has ended. */
  async stop(): Promise<void> {
    this.#stop.abort();
    await this.#running;
  }

  async #run(signal: AbortSignal): Promise<void> {
    while (!signal.aborted) {
      await this.#work(signal);
      await sleep(this.#pauseMs(), undefined, { signal }).catch(() => undefined);
    }
  }
}

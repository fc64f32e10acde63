import { isSandboxVm, type VmContext, vmStatus } from '@wrenn/actors';
import type { ActorView, JournalEntry } from '@wrenn/core';
import type { Admission } from './effects/admission.ts';
import type { Incarnations } from './incarnations.ts';
import type { VmJournal } from './vm-journal.ts';
import type { WarmPool } from './warm-pool.ts';

export interface RecorderOptions {
  readonly journal: VmJournal;
  readonly incarnations: Incarnations;
  readonly admission: Admission;
  readonly warm: WarmPool;
}

/** States in which a guest stands still, or is about to (AG6). */
const FREEZING: ReadonlySet<string> = new Set(['quiescing', 'saving', 'branching', 'publishing', 'continuing']);

/**
 * Keeps what is derived from the journal in step with it: which incarnations there are, who waits to boot, what is parked,
 * who is on the way to ready and whose guest is frozen.
 */
export class Recorder {
  readonly #options: RecorderOptions;
  readonly #stopping = new AbortController();
  readonly #starting = new Set<string>();
  readonly #freezing = new Set<string>();
  #settled = Promise.withResolvers<void>();
  #running: Promise<void> = Promise.resolve();

  constructor(options: RecorderOptions) {
    this.#options = options;
  }

  /** Sandboxes that are on the way to ready. */
  get starting(): number {
    return this.#starting.size;
  }

  /** Notes what there is, then every commit. */
  async start(): Promise<void> {
    const { journal } = this.#options;
    const entries = journal.runtime.feed(null, this.#stopping.signal);
    this.#running = this.#follow(entries);
    for (const view of await journal.list()) this.#note(view);
  }

  async stop(): Promise<void> {
    this.#stopping.abort();
    await this.#running;
  }

  /** Resolves when no guest is frozen any more, or with the signal. */
  async settled(signal: AbortSignal): Promise<void> {
    const aborted = new Promise<void>((resolve) => signal.addEventListener('abort', () => resolve(), { once: true }));
    while (this.#freezing.size > 0 && !signal.aborted) {
      this.#settled = Promise.withResolvers();
      await Promise.race([this.#settled.promise, aborted]);
    }
  }

  async #follow(entries: AsyncIterable<JournalEntry>): Promise<void> {
    for await (const { id } of entries) {
      const view = await this.#options.journal.read(id);
      if (view !== null) this.#note(view);
    }
  }

  #note(view: ActorView<VmContext>): void {
    const { incarnations, admission, warm } = this.#options;
    const { id, context } = view;
    const status = vmStatus(view);
    if (status !== 'starting') admission.leave(id);
    const top = view.path.split('.', 1)[0] ?? '';
    if (FREEZING.has(top)) this.#freezing.add(id);
    else if (this.#freezing.delete(id)) this.#settled.resolve();
    if (!isSandboxVm(view)) {
      if (top !== 'parked') warm.forget(id);
      return;
    }
    incarnations.note(context.sandbox_id, context.incarnation, status, context.epoch);
    if (status === 'starting') this.#starting.add(id);
    else this.#starting.delete(id);
  }
}

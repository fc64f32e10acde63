import { isSandboxVm } from '@wrenn/actors';
import type { Logger } from '@wrenn/core';
import type { VmJournal } from '../vm-journal.ts';
import type { Series } from './series.ts';
import type { SeriesFiles } from './series-files.ts';

/** Which series are kept on disk: those of sandboxes that run here or are paused here, and of no others. */
export class SeriesKeeper {
  readonly #files: SeriesFiles;
  readonly #journal: VmJournal;
  readonly #log: Logger;
  /** Files are written and removed one after the other: a write must not follow the removal that it should precede. */
  #filing: Promise<void> = Promise.resolve();

  constructor(files: SeriesFiles, journal: VmJournal, log: Logger) {
    this.#files = files;
    this.#journal = journal;
    this.#log = log;
  }

  /** As the last write left it: a sandbox that is resumed at once must not meet what its pause has still to write. */
  load(sandboxId: string): Promise<Series | null> {
    return this.#filing.then(() => this.#files.load(sandboxId));
  }

  /** Writes down the series of a sandbox that is still there, and removes that of any other. */
  settle(sandboxId: string, series: Series | null): Promise<void> {
    return this.#file(async () => {
      const there = (await this.#there()).has(sandboxId);
      if (!there) await this.#files.remove(sandboxId);
      else if (series) await this.#files.save(sandboxId, series);
    });
  }

  /** All that are in memory; files of sandboxes that are gone go too. */
  saveAll(inMemory: ReadonlyMap<string, Series>): Promise<void> {
    return this.#file(async () => {
      const there = await this.#there();
      for (const [sandboxId, series] of inMemory) if (there.has(sandboxId)) await this.#files.save(sandboxId, series);
      await this.#files.keepOnly(there);
    });
  }

  /** Until the signal: what is known of a sandbox goes with its last VM, not at the next look at all of them. */
  async forgetEnded(signal: AbortSignal): Promise<void> {
    try {
      for await (const { path, id } of this.#journal.runtime.feed(null, signal)) {
        if (path === 'gone') await this.settle(id.split('.', 1)[0] ?? '', null);
      }
    } catch (err) {
      if (!signal.aborted) this.#log.warn({ err }, 'metrics of ended sandboxes go later');
    }
  }

  async #there(): Promise<Set<string>> {
    const there = (await this.#journal.list()).filter((view) => !view.done && isSandboxVm(view));
    return new Set(there.map(({ context }) => context.sandbox_id));
  }

  #file(work: () => Promise<void>): Promise<void> {
    const done = this.#filing.then(work).catch((err) => {
      this.#log.warn({ err }, 'metrics could not be written');
    });
    this.#filing = done;
    return done;
  }
}

import { WrennError } from '../errors.ts';
import type { JournalEntry } from '../runtime.ts';
import type { JournalState } from './journal-state.ts';

/** Readers of a journal's entries that are durable, in the order of commits. */
export class JournalFeed {
  readonly #state: JournalState;
  readonly #sleeping = new Set<() => void>();
  #stopped = false;

  constructor(state: JournalState) {
    this.#state = state;
  }

  /** Ends all readers. */
  stop(): void {
    this.#stopped = true;
    this.wake();
  }

  wake(): void {
    for (const wake of [...this.#sleeping]) wake();
  }

  /** Throws `cursor_expired` when entries after the cursor are not kept any more, or the cursor is of a later history. */
  async *read(cursor: string | null, signal: AbortSignal): AsyncGenerator<JournalEntry> {
    let at = cursor === null ? this.#state.shownPosition : Number(cursor);
    if (!Number.isSafeInteger(at) || at < 0) throw new WrennError('bad_request', 'this is no cursor of the feed');
    while (!signal.aborted && !this.#stopped) {
      const { entries, position, shownPosition } = this.#state;
      const first = position - entries.length;
      if (at < first || at > shownPosition)
        throw new WrennError('cursor_expired', `the journal has entries ${first + 1} to ${shownPosition}`);
      if (at === shownPosition) {
        await this.#sleep(signal);
        continue;
      }
      const entry = entries[at - first] as JournalEntry;
      at += 1;
      yield entry;
    }
  }

  #sleep(signal: AbortSignal): Promise<void> {
    return new Promise((resolve) => {
      const wake = () => {
        this.#sleeping.delete(wake);
        signal.removeEventListener('abort', wake);
        resolve();
      };
      this.#sleeping.add(wake);
      signal.addEventListener('abort', wake, { once: true });
    });
  }
}

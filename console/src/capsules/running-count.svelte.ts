import { api, type JournalEntry, ok } from '../lib/api.ts';
import { batched } from '../lib/batched.ts';
import { feeds } from '../lib/feed.svelte.ts';

/** Many come and go at once: they are counted this often. */
const COUNT_MS = 1_000;

/** How many of the team's capsules run now, also those that no list shows. */
export class RunningCount {
  /** Null until it is known. */
  now = $state<number | null>(null);
  readonly #count = batched(() => this.#read(), COUNT_MS);
  readonly #silence = feeds.listen({}, { entry: (entry) => this.#take(entry), resync: () => this.#read() });

  constructor() {
    this.#read();
  }

  end(): void {
    this.#silence();
    this.#count.cancel();
  }

  #take({ kind, from, to }: JournalEntry): void {
    if (kind === 'sandbox' && isRunning(from) !== isRunning(to)) this.#count();
  }

  async #read(): Promise<void> {
    const { items } = await ok(api.GET('/v1/actors/summary')).catch(() => ({ items: null }));
    if (!items) return; // the page itself says that nobody answers
    const running = items.filter(({ kind, path }) => kind === 'sandbox' && path.startsWith('running'));
    this.now = running.reduce((sum, { count }) => sum + count, 0);
  }
}

/** State values of a running capsule are objects: regions stand beside each other in it. */
function isRunning(state: unknown): boolean {
  return typeof state === 'object' && state !== null && 'running' in state;
}

import { type ActorSummary, api, type JournalEntry, ok } from '../lib/api.ts';
import { type FeedScope, feeds, type StateCount } from '../lib/feed.svelte.ts';

/** One actor of the fleet, as far as the map needs it. Mutable: thousands change in a second. */
export interface Member {
  readonly kind: string;
  readonly id: string;
  path: string;
  /** When it entered its state, milliseconds since 1970. */
  since: number;
  seq: number;
}

const PAGE = 200;
/** As the feed: more actors than this are counted, not listed. */
const MOST_MEMBERS = 10_000;
/** How often a change of the fleet is drawn. */
const DRAW_MS = 400;

/**
 * All actors, kept current by the feed's entries; where there are too many, how many are in each state, as the feed counts
 * them. Nothing here is reactive but `version`: it rises, at most every `DRAW_MS`, when something changed.
 */
export class Fleet {
  version = $state(0);
  loaded = $state(false);
  mode = $state<'entries' | 'counts'>('entries');
  error = $state.raw<unknown>(null);

  readonly members = new Map<string, Member>();
  readonly counts = new Map<string, StateCount>();
  readonly #everyTeam: boolean;
  readonly #silence: () => void;
  #drawing: ReturnType<typeof setTimeout> | undefined;
  #loading = 0;

  constructor({ everyTeam = false }: FeedScope) {
    this.#everyTeam = everyTeam;
    this.#silence = feeds.listen(
      { everyTeam, brief: true },
      {
        entry: (entry) => this.#take(entry),
        counts: (items, full) => this.#count(items, full),
        resync: (mode) => {
          this.mode = mode;
          this.load();
        },
      },
    );
    this.load();
  }

  end(): void {
    this.#loading++;
    this.#silence();
    clearTimeout(this.#drawing);
  }

  /** Reads all pages. Entries that come meanwhile are newer than the page that has the same actor: `seq` tells. */
  async load(): Promise<void> {
    const turn = ++this.#loading;
    try {
      const seen = new Set<string>();
      let cursor: string | null = null;
      while (this.mode === 'entries') {
        const query = {
          limit: PAGE,
          ...(cursor !== null && { cursor }),
          ...(this.#everyTeam && { all: 'true' as const }),
        };
        const page: { items: ActorSummary[]; next_cursor: string | null } = await ok(
          api.GET('/v1/actors', { params: { query } }),
        );
        if (turn !== this.#loading) return;
        for (const actor of page.items) {
          seen.add(`${actor.kind} ${actor.id}`);
          this.#keep(actor);
        }
        cursor = page.next_cursor;
        if (cursor === null || this.members.size > MOST_MEMBERS) break;
        this.#draw();
      }
      this.loaded = true;
      this.error = null;
    } catch (error) {
      if (turn === this.#loading) this.error = error;
    }
    this.#draw();
  }

  #keep({ kind, id, path, since, seq, done }: ActorSummary): void {
    const name = `${kind} ${id}`;
    const known = this.members.get(name);
    if (known && known.seq >= seq) return;
    if (done) this.members.delete(name);
    else this.members.set(name, { kind, id, path, since: Date.parse(since), seq });
  }

  #take(entry: JournalEntry): void {
    const { kind, id, seq, path, outcome } = entry;
    const name = `${kind} ${id}`;
    const known = this.members.get(name);
    if (known) {
      if (known.seq >= seq) return;
      known.seq = seq;
      if (outcome !== 'transition' || known.path === path) return;
      known.path = path;
      known.since = Date.parse(entry.at);
    } else {
      this.members.set(name, { kind, id, path, since: Date.parse(entry.at), seq });
    }
    this.#draw();
  }

  #count(items: readonly StateCount[], full: boolean): void {
    if (full) this.counts.clear();
    for (const item of items) {
      const name = `${item.kind} ${item.path}`;
      if (item.count === 0) this.counts.delete(name);
      else this.counts.set(name, item);
    }
    this.#draw();
  }

  #draw(): void {
    this.#drawing ??= setTimeout(() => {
      this.#drawing = undefined;
      this.version++;
    }, DRAW_MS);
  }
}

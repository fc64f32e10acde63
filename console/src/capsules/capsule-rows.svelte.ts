import { applyDiff, type Json, type Operation } from '../inspector/patch.ts';
import { api, type JournalEntry, ok, type Sandbox } from '../lib/api.ts';
import { batched } from '../lib/batched.ts';
import { feeds } from '../lib/feed.svelte.ts';

const PAGE = 200;

/** Fields that a sandbox's row shares with its actor's context, there as they are or as milliseconds. */
const SAME = ['status', 'host_id', 'host_ip', 'guest_ip', 'reason'] as const;
const TIMES = ['status_since', 'started_at', 'last_active_at'] as const;

/** The team's capsules: read once, page by page, then kept current by the feed. */
export class CapsuleRows {
  rows = $state.raw<Sandbox[]>([]);
  loaded = $state(false);
  more = $state<string | null>(null);
  error = $state.raw<unknown>(null);

  #byId = new Map<string, Sandbox>();
  #asked = new Set<string>();
  #show = batched(() => {
    this.rows = [...this.#byId.values()].sort((one, other) => other.created_at.localeCompare(one.created_at));
  });
  #silence = feeds.listen({}, { entry: (entry) => this.#take(entry), resync: () => this.load() });

  constructor() {
    this.load();
  }

  end(): void {
    this.#silence();
    this.#show.cancel();
  }

  load(): void {
    this.#read(undefined, true);
  }

  loadMore(): void {
    if (this.more) this.#read(this.more, false);
  }

  async #read(cursor: string | undefined, anew: boolean): Promise<void> {
    try {
      const query = { limit: PAGE, ...(cursor !== undefined && { cursor }) };
      const page = await ok(api.GET('/v1/sandboxes', { params: { query } }));
      if (anew) this.#byId.clear();
      for (const sandbox of page.items) this.#byId.set(sandbox.id, sandbox);
      this.more = page.next_cursor;
      this.error = null;
    } catch (error) {
      this.error = error;
    }
    this.loaded = true;
    this.#show();
  }

  #take(entry: JournalEntry): void {
    if (entry.kind !== 'sandbox' || entry.outcome !== 'transition') return;
    const known = this.#byId.get(entry.id);
    if (known) {
      this.#byId.set(entry.id, changed(known, entry));
      this.#show();
    } else if (entry.seq === 1) this.#ask(entry.id);
  }

  /** A new one: its row has more than its journal tells. */
  async #ask(id: string): Promise<void> {
    if (this.#asked.has(id)) return;
    this.#asked.add(id);
    const { data } = await api
      .GET('/v1/sandboxes/{id}', { params: { path: { id } } })
      .catch(() => ({ data: undefined }));
    this.#asked.delete(id);
    if (!data) return; // of another team
    this.#byId.set(id, data);
    this.#show();
  }
}

/** Of a context, what a row shows: its own fields, and the labels. */
const SHOWN = /^\/[^/]+$|^\/spec\/labels(\/|$)/;

function changed(row: Sandbox, entry: JournalEntry): Sandbox {
  const before: Record<string, Json> = { spec: { labels: row.labels } };
  const diff = (entry.diff as Operation[]).filter(({ path }) => SHOWN.test(path));
  const context = applyDiff(before, diff) as { [name: string]: Json };
  const next: Record<string, unknown> = { ...row };
  for (const name of SAME) if (context[name] !== undefined) next[name] = context[name];
  for (const name of TIMES) {
    const time = context[name];
    if (typeof time === 'number') next[name] = new Date(time).toISOString();
  }
  next.labels = (context.spec as { labels?: Json } | undefined)?.labels ?? row.labels;
  if (next.reason === null) delete next.reason;
  return next as Sandbox;
}

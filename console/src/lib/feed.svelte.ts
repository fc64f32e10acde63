import { SvelteSet } from 'svelte/reactivity';
import { api, type JournalEntry, ok } from './api.ts';
import { backOff, openSocket } from './socket.ts';

/** The actors in one state, as the feed counts them where there are too many to tell of each. */
export interface StateCount {
  readonly kind: string;
  readonly path: string;
  readonly count: number;
  readonly stuck: number;
  readonly oldest_since: string;
  readonly median_dwell_ms: number;
}

export interface FeedListener {
  /** A transition, in the order of commits. */
  entry?(entry: JournalEntry): void;
  /** Counts per state, where there are too many actors: all of them, or those that changed (0: nobody is left). */
  counts?(items: readonly StateCount[], full: boolean): void;
  /** What is shown must be read anew: something was missed, or the feed tells of it in another way from now on. */
  resync?(mode: 'entries' | 'counts'): void;
}

export interface FeedScope {
  /** One actor (of a sandbox, its VMs too). Without: all. Whoever listens to one shares a connection. */
  readonly id?: string;
  /** For platform admins: actors of all teams and of the platform. */
  readonly everyTeam?: boolean;
  /** Entries without diffs: all that a view of many needs. */
  readonly brief?: boolean;
}

type Frame =
  | ({ readonly type: 'entry'; readonly cursor: string } & JournalEntry)
  | { readonly type: 'hello' | 'mode'; readonly mode: 'entries' | 'counts'; readonly cursor: string }
  | { readonly type: 'counts'; readonly full: boolean; readonly items: readonly StateCount[] };

type FeedStatus = 'connecting' | 'live' | 'waiting';

/** A cursor that the server does not take any more: from now on, then. */
const CURSOR_REFUSED = /cursor/;
/** The server's reason when a page read too slowly names where it may go on. */
const RESUME_FROM = /resume from (\S+)/;

/**
 * One WebSocket of transitions: open while anybody listens, back by itself, resumed after the last entry that it saw. When
 * somebody listens to one more actor it is opened anew for all of them, from where it was.
 */
class Feed {
  status = $state<FeedStatus>('connecting');
  /** When the next attempt begins, milliseconds since 1970. */
  nextAttemptAt = $state(0);

  readonly #listeners = new Map<FeedListener, string | undefined>();
  /** The actors that it tells of; null: all. */
  readonly #ids: Set<string> | null;
  readonly #query: URLSearchParams;
  #socket: WebSocket | null = null;
  #cursor: string | null = null;
  #mode: 'entries' | 'counts' = 'entries';
  #attempts = 0;
  #timer: ReturnType<typeof setTimeout> | undefined;

  constructor({ id, everyTeam, brief }: FeedScope) {
    this.#ids = id === undefined ? null : new Set([id]);
    this.#query = new URLSearchParams({ ...(everyTeam && { all: 'true' }), ...(brief && { brief: 'true' }) });
    this.#open();
  }

  get unheard(): boolean {
    return this.#listeners.size === 0;
  }

  add(listener: FeedListener, id: string | undefined): void {
    this.#listeners.set(listener, id);
    if (!this.#ids || id === undefined || this.#ids.has(id)) return;
    this.#ids.add(id);
    this.close();
    this.#open();
  }

  /** What nobody listens to any more is still told, until the next connection. */
  remove(listener: FeedListener): void {
    const id = this.#listeners.get(listener);
    this.#listeners.delete(listener);
    if (id !== undefined && ![...this.#listeners.values()].includes(id)) this.#ids?.delete(id);
  }

  /** Tries at once, when somebody does not want to wait. */
  retryNow(): void {
    if (this.status === 'waiting') this.#open();
  }

  close(): void {
    clearTimeout(this.#timer);
    const socket = this.#socket;
    this.#socket = null;
    socket?.close(1000);
  }

  #open(): void {
    clearTimeout(this.#timer);
    this.status = 'connecting';
    const query = new URLSearchParams(this.#query);
    if (this.#ids) query.set('id', [...this.#ids].join(','));
    if (this.#cursor !== null) query.set('cursor', this.#cursor);
    const resumed = this.#cursor !== null;
    const socket = openSocket(`/v1/actors/feed?${query}`);
    this.#socket = socket;
    socket.onmessage = ({ data }) => this.#take(JSON.parse(data as string) as Frame, resumed);
    socket.onclose = ({ reason }) => {
      if (this.#socket !== socket) return;
      this.#socket = null;
      const from = RESUME_FROM.exec(reason)?.[1];
      if (from !== undefined) this.#cursor = from;
      else if (CURSOR_REFUSED.test(reason)) this.#cursor = null;
      this.#wait();
    };
  }

  #take(frame: Frame, resumed: boolean): void {
    if (frame.type === 'entry') {
      this.#cursor = frame.cursor;
      for (const listener of this.#listeners.keys()) listener.entry?.(frame);
      return;
    }
    if (frame.type === 'counts') {
      for (const listener of this.#listeners.keys()) listener.counts?.(frame.items, frame.full);
      return;
    }
    // Without a cursor it tells what comes from now on: what came between a reading and this moment is read again.
    const missed = frame.type === 'mode' || frame.mode !== this.#mode || !resumed;
    this.#mode = frame.mode;
    this.#cursor = frame.cursor;
    this.#attempts = 0;
    this.status = 'live';
    if (missed) for (const listener of this.#listeners.keys()) listener.resync?.(frame.mode);
  }

  #wait(): void {
    // Whether it was refused is not told to a page: an attempt that never opened may have had a cursor too old.
    if (this.#attempts > 0 && this.#attempts % REFUSED_AFTER === 0) this.#cursor = null;
    // A session that has ended looks the same as a server that is away: the API tells.
    if (this.#attempts > 0) ok(api.GET('/v1/me')).catch(() => undefined);
    const wait = backOff(++this.#attempts);
    this.status = 'waiting';
    this.nextAttemptAt = Date.now() + wait;
    this.#timer = setTimeout(() => this.#open(), wait);
  }
}

/** Attempts in a row that failed, after which a cursor is not tried any more. */
const REFUSED_AFTER = 3;

class Feeds {
  readonly #open = new SvelteSet<Feed>();
  readonly #byScope = new Map<string, Feed>();

  /** The state of all that are open, the worst one first. */
  get status(): FeedStatus | 'off' {
    const all = [...this.#open].map(({ status }) => status);
    if (all.length === 0) return 'off';
    return all.find((status) => status === 'waiting') ?? all.find((status) => status === 'connecting') ?? 'live';
  }

  get nextAttemptAt(): number {
    return Math.min(...[...this.#open].filter(({ status }) => status === 'waiting').map((feed) => feed.nextAttemptAt));
  }

  /** Listeners of one kind of scope share its connection. */
  listen(scope: FeedScope, listener: FeedListener): () => void {
    const name = JSON.stringify([scope.id !== undefined, scope.everyTeam ?? false, scope.brief ?? false]);
    const feed = this.#byScope.get(name) ?? new Feed(scope);
    this.#byScope.set(name, feed);
    this.#open.add(feed);
    feed.add(listener, scope.id);
    return () => {
      feed.remove(listener);
      if (!feed.unheard) return;
      feed.close();
      this.#open.delete(feed);
      this.#byScope.delete(name);
    };
  }

  retryNow(): void {
    for (const feed of this.#open) feed.retryNow();
  }

  close(): void {
    for (const feed of this.#open) feed.close();
    this.#open.clear();
    this.#byScope.clear();
  }
}

export const feeds = new Feeds();

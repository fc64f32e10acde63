import { type Actor, type ActorKind, api, type JournalEntry, ok } from '../lib/api.ts';
import { feeds } from '../lib/feed.svelte.ts';
import { session } from '../lib/session.svelte.ts';
import type { MachineData } from '../statechart/machine-data.ts';
import { Journal } from './journal.ts';
import { loadMachine } from './machines.ts';
import type { Json } from './patch.ts';

/** So much is read at first: a capsule's whole life, the last hour of a host. */
const JOURNAL_PAGE = 500;

/** How long an attempt usually takes, and when to look again at one that takes longer: from, to. */
const ATTEMPT_MS = 300;
const UNDER_WAY_MS = 1_000;
const SELDOM_MS = 30_000;

/** One actor, live: what it is now, its machine, and its journal: the latest part at first, more of it when asked for. */
export class ActorLife {
  readonly kind: string;
  readonly id: string;
  actor = $state.raw<Actor | null>(null);
  machine = $state.raw<MachineData | null>(null);
  journal = $state.raw(new Journal([]));
  error = $state.raw<unknown>(null);
  /** The journal begins after its actor did, and more of it is nowhere: copies are kept for some days. */
  beginningGone = $state(false);

  #attempt: ReturnType<typeof setTimeout> | undefined;
  /** The attempts that were read last, and how often since. */
  #attempts = '';
  #looks = 0;
  #reading = false;
  #reaching = false;
  #readAgain = false;
  #ended = false;
  #silence: () => void;

  /** @param feedOf another actor whose feed has this one's entries: a sandbox's has those of its VMs. */
  constructor(kind: string, id: string, feedOf = id) {
    this.kind = kind;
    this.id = id;
    this.#silence = feeds.listen(
      { id: feedOf, everyTeam: session.user?.is_admin ?? false },
      {
        entry: (entry) => {
          if (entry.kind === kind && entry.id === id) this.#take(entry);
          // A sandbox's starts on hosts are part of what it shows.
          else if (kind === 'sandbox' && entry.kind === 'vm' && entry.seq === 1 && entry.id.startsWith(`${id}.`)) {
            this.refresh();
          }
        },
        resync: () => this.refresh(),
      },
    );
    this.refresh();
  }

  end(): void {
    this.#ended = true;
    this.#silence();
    clearTimeout(this.#attempt);
  }

  /** Reads what is new. Calls that come while it reads are one more read. */
  refresh(): void {
    if (this.#reading) {
      this.#readAgain = true;
      return;
    }
    this.#reading = true;
    this.#read()
      .then(
        () => {
          this.error = null;
        },
        (error) => {
          this.error = error;
        },
      )
      .finally(() => {
        this.#reading = false;
        if (this.#readAgain && !this.#ended) this.refresh();
        this.#readAgain = false;
      });
  }

  async #read(): Promise<void> {
    const [actor] = await Promise.all([
      ok(api.GET('/v1/actors/{kind}/{id}', { params: { path: this.#path } })),
      this.#readJournal(),
    ]);
    if (this.machine?.version !== actor.machine_version) {
      this.machine = await loadMachine(actor.kind, actor.machine_version);
    }
    if (this.#ended) return;
    this.actor = actor;
    this.#awaitAttempt(actor);
  }

  /**
   * An attempt of an effect that fails is no entry of the journal: what became of it is read after its time, and more and
   * more seldom while it is under way.
   */
  #awaitAttempt({ effects }: Actor): void {
    clearTimeout(this.#attempt);
    const due = effects.flatMap(({ next_attempt_at: at }) => (at === null ? [] : [Date.parse(at)]));
    if (due.length === 0) return;
    const left = Math.min(...due) - Date.now();
    const attempts = effects.map(({ key, attempts }) => `${key} ${attempts}`).join();
    this.#looks = attempts === this.#attempts ? this.#looks + 1 : 0;
    this.#attempts = attempts;
    const wait = left > 0 ? left + ATTEMPT_MS : Math.min(UNDER_WAY_MS * 2 ** this.#looks, SELDOM_MS);
    this.#attempt = setTimeout(() => this.refresh(), wait);
  }

  /** Reads back until it is `enough` to begin with that entry, or to where the actor began. */
  async reach(enough: (first: JournalEntry) => boolean): Promise<void> {
    if (this.#reaching) return;
    this.#reaching = true;
    try {
      for (;;) {
        const [first] = this.journal.entries;
        if (this.#ended || !first || this.journal.whole || enough(first)) return;
        const earlier = await this.#pageBefore(first.seq);
        if (earlier.length === 0) {
          this.beginningGone = true;
          return;
        }
        const context = await this.#contextAfter(earlier[0]);
        this.journal = new Journal([...earlier, ...this.journal.entries], context);
      }
    } catch (error) {
      this.error = error;
    } finally {
      this.#reaching = false;
    }
  }

  get #path() {
    return { kind: this.kind as ActorKind, id: this.id };
  }

  async #readJournal(): Promise<void> {
    if (this.journal.entries.length === 0) {
      const latest = await this.#pageBefore(undefined);
      const context = await this.#contextAfter(latest[0]);
      if (this.journal.entries.length === 0) this.journal = new Journal(latest, context);
    }
    for (;;) {
      const query = { after_seq: this.#lastSeq, limit: JOURNAL_PAGE };
      const page = await ok(api.GET('/v1/actors/{kind}/{id}/journal', { params: { path: this.#path, query } }));
      const last = this.#lastSeq;
      const fresh = page.items.filter(({ seq }) => seq > last);
      if (fresh.length > 0) this.journal = this.journal.followedBy(fresh);
      if (page.next_after_seq === null) return;
    }
  }

  /** The page of entries below `seq`, or the last one; in the order of the journal. */
  async #pageBefore(seq: number | undefined): Promise<JournalEntry[]> {
    const query = { order: 'desc', limit: JOURNAL_PAGE, ...(seq !== undefined && { before_seq: seq }) } as const;
    const page = await ok(api.GET('/v1/actors/{kind}/{id}/journal', { params: { path: this.#path, query } }));
    return page.items.toReversed();
  }

  async #contextAfter(entry: JournalEntry | undefined): Promise<Json> {
    if (!entry || entry.seq === 1) return null; // that entry has it
    const path = { ...this.#path, seq: entry.seq };
    const { context } = await ok(api.GET('/v1/actors/{kind}/{id}/revisions/{seq}', { params: { path } }));
    return context as Json;
  }

  get #lastSeq(): number {
    return this.journal.entries.at(-1)?.seq ?? 0;
  }

  /** The next entry is appended as it is; whatever leaves a gap makes a read. */
  #take(entry: JournalEntry): void {
    const last = this.#lastSeq;
    if (entry.seq <= last) return;
    if (entry.seq === last + 1) this.journal = this.journal.followedBy([entry]);
    this.refresh();
  }
}

import { type Actor, type ActorKind, api, type JournalEntry, ok } from '../lib/api.ts';
import { feeds } from '../lib/feed.svelte.ts';
import { session } from '../lib/session.svelte.ts';
import type { MachineData } from '../statechart/machine-data.ts';
import { Journal } from './journal.ts';
import { loadMachine } from './machines.ts';

const JOURNAL_PAGE = 500;

/** One actor, live: what it is now, its machine, and its journal from the first entry on. */
export class ActorLife {
  readonly kind: string;
  readonly id: string;
  actor = $state.raw<Actor | null>(null);
  machine = $state.raw<MachineData | null>(null);
  journal = $state.raw(new Journal([]));
  error = $state.raw<unknown>(null);

  #entries: JournalEntry[] = [];
  #reading = false;
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
    const path = { kind: this.kind as ActorKind, id: this.id };
    const [actor] = await Promise.all([
      ok(api.GET('/v1/actors/{kind}/{id}', { params: { path } })),
      this.#readJournal(path),
    ]);
    if (this.machine?.version !== actor.machine_version) {
      this.machine = await loadMachine(actor.kind, actor.machine_version);
    }
    if (!this.#ended) this.actor = actor;
  }

  async #readJournal(path: { kind: ActorKind; id: string }): Promise<void> {
    for (;;) {
      const query = { after_seq: this.#entries.at(-1)?.seq ?? 0, limit: JOURNAL_PAGE };
      const page = await ok(api.GET('/v1/actors/{kind}/{id}/journal', { params: { path, query } }));
      const last = this.#entries.at(-1)?.seq ?? 0;
      const fresh = page.items.filter(({ seq }) => seq > last);
      if (fresh.length > 0) this.#show(fresh);
      if (page.next_after_seq === null) return;
    }
  }

  /** The next entry is appended as it is; whatever leaves a gap makes a read. */
  #take(entry: JournalEntry): void {
    const last = this.#entries.at(-1)?.seq ?? 0;
    if (entry.seq <= last) return;
    if (entry.seq === last + 1) this.#show([entry]);
    this.refresh();
  }

  #show(entries: readonly JournalEntry[]): void {
    this.#entries.push(...entries);
    this.journal = new Journal(this.#entries.slice());
  }
}

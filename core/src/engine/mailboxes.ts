import type { ActorRef } from '../definition.ts';
import type { Logger } from '../log.ts';
import { refKey } from '../step/refs.ts';
import { forgetState, newResident, type Queued, type Resident } from './resident.ts';

export interface MailboxesOptions {
  readonly log: Logger;
  /** Batches in flight at a time, each of other actors. */
  readonly lanes: number;
  /** Idle actors kept in memory, so that one that is used often is not read again each time. */
  readonly keepIdle: number;
  /** Works on these actors, which nobody else touches until it resolves. */
  readonly batch: (residents: readonly Resident[]) => Promise<void>;
  readonly isOwned: (ref: ActorRef) => boolean;
  /** What is left in the mailbox of an actor that is owned elsewhere now. */
  readonly passOn: (queued: readonly Queued[]) => void;
}

/** Actors per batch: beyond it a statement grows with little gain (measured: 64 rows 83–98 k/s, 16 rows 47–51 k/s). */
const BATCH_ACTORS = 64;
/**
 * Actors per batch when many more are ready than all lanes can take (after a restart): fewer, longer statements need fewer
 * changes between the two processes (measured with 10,000 ready on 2 busy cores: 1.5 s instead of 1.6–2.4 s).
 */
const BACKLOG_ACTORS = 160;
/** Pause after a batch could not even be read: the store is away. */
const STORE_AWAY_MS = 100;

/**
 * Mailboxes of the actors in memory, and whose turn it is. An actor is in one batch at a time; an actor with nothing to
 * do leaves memory once more than `keepIdle` have been idle for a shorter time.
 */
export class Mailboxes {
  readonly #options: MailboxesOptions;
  readonly #residents = new Map<string, Resident>();
  /** In the order in which they became idle. */
  readonly #idle = new Set<Resident>();
  #ready: Resident[] = [];
  readonly #lanes = new Set<Promise<void>>();
  readonly #alone = new Set<Promise<void>>();
  #scheduled = false;

  constructor(options: MailboxesOptions) {
    this.#options = options;
  }

  get size(): number {
    return this.#residents.size;
  }

  peek(ref: ActorRef): Resident | undefined {
    return this.#residents.get(refKey(ref));
  }

  /** A message that is in the mailbox or in a commit already is not put there twice. */
  put(queued: Queued): void {
    const resident = this.#resident(queued.envelope.to);
    const twin = resident.ids.get(queued.envelope.id);
    if (twin) {
      joinTwin(twin, queued);
      return;
    }
    resident.ids.set(queued.envelope.id, queued);
    resident.queue.push(queued);
    this.#wake(resident);
  }

  /** Runs `work` between two batches of the actor, with the actor to itself. It takes no lane: work may wait for other actors. */
  exclusively(ref: ActorRef, work: (resident: Resident) => Promise<void>): void {
    const resident = this.#resident(ref);
    resident.exclusive.push(() => work(resident));
    this.#wake(resident);
  }

  /** These actors are owned elsewhere now. One that is in a batch follows when it comes back. */
  release(lost: (ref: ActorRef) => boolean): void {
    for (const resident of [...this.#residents.values()].filter(({ ref }) => lost(ref))) {
      if (resident.phase === 'busy') continue;
      this.#ready = this.#ready.filter((other) => other !== resident);
      this.#disown(resident);
    }
  }

  /** Resolves when nothing is in flight; what is left in mailboxes is told `reason`. */
  async stop(reason: unknown): Promise<void> {
    const left = [...this.#residents.values()].flatMap((resident) => resident.queue.splice(0));
    this.#ready = [];
    while (this.#lanes.size + this.#alone.size > 0) await Promise.all([...this.#lanes, ...this.#alone]);
    for (const resident of this.#residents.values()) left.push(...resident.queue);
    for (const { settle } of left) settle?.(reason);
    this.#residents.clear();
    this.#idle.clear();
  }

  #resident(ref: ActorRef): Resident {
    const key = refKey(ref);
    let resident = this.#residents.get(key);
    if (!resident) {
      resident = newResident(ref, key);
      this.#residents.set(key, resident);
    }
    return resident;
  }

  #wake(resident: Resident): void {
    if (resident.phase !== 'idle') return;
    resident.phase = 'ready';
    this.#idle.delete(resident);
    this.#ready.push(resident);
    this.#schedule();
  }

  /** One turn of the event loop gathers what arrived together into one batch. */
  #schedule(): void {
    if (this.#scheduled) return;
    this.#scheduled = true;
    setImmediate(() => {
      this.#scheduled = false;
      while (this.#lanes.size < this.#options.lanes && this.#ready.length > 0) {
        const lane = this.#lane(this.#ready.splice(0, this.#batchSize())).finally(() => {
          this.#lanes.delete(lane);
          if (this.#ready.length > 0) this.#schedule();
        });
        this.#lanes.add(lane);
      }
    });
  }

  #batchSize(): number {
    const each = Math.ceil(this.#ready.length / this.#options.lanes);
    return Math.min(BACKLOG_ACTORS, Math.max(BATCH_ACTORS, each));
  }

  async #lane(residents: readonly Resident[]): Promise<void> {
    for (const resident of residents) resident.phase = 'busy';
    const batch = residents.filter((resident) => !this.#startAlone(resident));
    try {
      await this.#options.batch(batch);
    } catch (err) {
      this.#options.log.error({ err }, 'a batch of actors failed; they are read again');
      batch.forEach(forgetState);
      await new Promise((resolve) => setTimeout(resolve, STORE_AWAY_MS));
    }
    for (const resident of batch) this.#rest(resident);
  }

  #startAlone(resident: Resident): boolean {
    const work = resident.exclusive.shift();
    if (!work) return false;
    const running = work().finally(() => {
      this.#alone.delete(running);
      this.#rest(resident);
    });
    this.#alone.add(running);
    return true;
  }

  /** After a batch: the mailbox goes on, or the actor may leave memory. */
  #rest(resident: Resident): void {
    resident.phase = 'idle';
    if (!this.#options.isOwned(resident.ref)) {
      this.#disown(resident);
    } else if (resident.queue.length > 0 || resident.exclusive.length > 0) {
      this.#wake(resident);
    } else {
      resident.foldLimit = null;
      this.#idle.add(resident);
      this.#passivate();
    }
  }

  #passivate(): void {
    for (const oldest of this.#idle) {
      if (this.#idle.size <= this.#options.keepIdle) return;
      this.#forget(oldest);
    }
  }

  #forget(resident: Resident): void {
    this.#idle.delete(resident);
    this.#residents.delete(resident.key);
  }

  #disown(resident: Resident): void {
    const queue = resident.queue.splice(0);
    resident.ids.clear();
    forgetState(resident);
    resident.phase = 'idle';
    this.#options.passOn(queue);
    if (resident.exclusive.length > 0) this.#wake(resident);
    else this.#forget(resident);
  }
}

/** The same message twice at a time: both senders hear of it. */
function joinTwin(twin: Queued, { stored, settle }: Queued): void {
  twin.stored ||= stored;
  if (!settle) return;
  const first = twin.settle;
  twin.settle = (error) => {
    first?.(error);
    settle(error);
  };
}

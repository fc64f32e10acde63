import type { ActorDefinition, ActorRef, Answer, DomainEvent } from '../definition.ts';
import { WrennError } from '../errors.ts';
import type { Logger } from '../log.ts';
import type { EffectHandler, SendOptions } from '../runtime.ts';
import type { ActorState, EffectRow, Envelope, TimerRow } from '../step/actor-state.ts';
import { PreparedMachine } from '../step/prepared-machine.ts';
import { effectKey, refKey } from '../step/refs.ts';
import { restoreActor } from '../step/stored-actor.ts';
import { Answers } from './answers.ts';
import { EffectRunner } from './effect-runner.ts';
import { type Fold, fold, isCurrent, notFound } from './fold.ts';
import { newResident, type Queued, type Resident } from './resident.ts';
import type { ActorCommit, CommitOutcome, Store, StoreListener } from './store.ts';
import { TimerQueue } from './timer-queue.ts';

export interface EngineOptions {
  readonly store: Store;
  readonly definitions: readonly ActorDefinition[];
  readonly handlers: Readonly<Record<string, EffectHandler>>;
  readonly log: Logger;
  /** Commits in flight at a time; each of other actors. */
  readonly lanes: number;
  /** Idle actors kept in memory, so that one that is used often is not read again each time. */
  readonly keepIdle?: number;
}

/** Actors per commit: beyond it a statement grows without gain (measured: 64 rows 83–98 k/s, 16 rows 47–51 k/s). */
const BATCH_ACTORS = 64;
/** Messages of one actor per commit. */
const FOLD_MESSAGES = 64;
const KEEP_IDLE = 1_000;
/** Pause after the store could not be reached. */
const STORE_AWAY_MS = 100;
/** A timer whose firing cannot be applied is tried again after this time. */
const TIMER_AGAIN_MS = 60_000;

/**
 * Mailboxes, group commit and everything that follows one, over either store. An actor is in one commit at a time;
 * what comes meanwhile is folded into its next one. Nobody is told of anything before it is committed.
 */
export class Engine implements StoreListener {
  readonly machines: ReadonlyMap<string, PreparedMachine>;
  readonly definitions: ReadonlyMap<string, ActorDefinition>;
  readonly answers = new Answers();
  readonly effects: EffectRunner;
  readonly timers: TimerQueue;
  readonly #store: Store;
  readonly #log: Logger;
  readonly #lanes: number;
  readonly #keepIdle: number;
  readonly #residents = new Map<string, Resident>();
  readonly #idle = new Set<Resident>();
  #ready: Resident[] = [];
  readonly #running = new Set<Promise<void>>();
  #scheduled = false;
  #stopping = false;

  constructor({ store, definitions, handlers, log, lanes, keepIdle }: EngineOptions) {
    this.#store = store;
    this.#log = log;
    this.#lanes = lanes;
    this.#keepIdle = keepIdle ?? KEEP_IDLE;
    this.definitions = new Map(definitions.map((definition) => [definition.kind, definition]));
    this.machines = new Map(definitions.map((definition) => [definition.kind, new PreparedMachine(definition)]));
    this.timers = new TimerQueue(
      () => store.now(),
      (ref, timer) => this.#fire(ref, timer),
    );
    this.effects = new EffectRunner({
      definitions: this.definitions,
      handlers,
      log,
      now: () => store.now(),
      epochOf: (ref) => store.epochOf(ref),
      finished: (ref, effect, event) => this.#finished(ref, effect, event),
      saveAttempt: (ref, effect) => this.#saveAttempt(ref, effect),
    });
  }

  get residents(): number {
    return this.#residents.size;
  }

  machine(kind: string): PreparedMachine {
    const machine = this.machines.get(kind);
    if (!machine) throw new WrennError('bad_request', `there are no actors of kind ${kind}`);
    return machine;
  }

  ask(envelope: Envelope, options: SendOptions): Promise<Answer> {
    const { to, id } = envelope;
    const answer = this.answers.wait(to, id, options.signal);
    if (options.signal?.aborted) return answer;
    this.send(envelope, (error) => error !== undefined && this.answers.reject(to, id, error));
    return answer;
  }

  /** Hands a new message to its actor, here or elsewhere; `settle` hears when it is durable. */
  send(envelope: Envelope, settle?: Queued['settle']): void {
    if (this.#stopping) return settle?.(new WrennError('unavailable', 'the runtime is stopping'));
    if (this.#store.epochOf(envelope.to) === null)
      this.#forward({ envelope, stored: false, unverified: false, returns: 0, settle });
    else this.#enqueue({ envelope, stored: false, unverified: false, returns: 0, settle });
  }

  // ---- what the store tells ----

  deliver(envelopes: readonly Envelope[]): void {
    for (const envelope of envelopes) this.#enqueue({ envelope, stored: true, unverified: false, returns: 0 });
  }

  setTimers(timers: readonly { ref: ActorRef; timer: TimerRow }[]): void {
    for (const { ref, timer } of timers) this.timers.set(ref, timer);
  }

  runEffects(effects: readonly { ref: ActorRef; effect: EffectRow }[]): void {
    for (const { ref, effect } of effects) this.effects.open(ref, effect);
  }

  async release(lost: (ref: ActorRef) => boolean): Promise<void> {
    this.timers.release(lost);
    this.effects.release(lost);
    const residents = [...this.#residents.values()].filter(({ ref }) => lost(ref));
    for (const resident of residents) {
      if (resident.phase === 'idle') this.#forget(resident);
      else if (resident.phase === 'ready') {
        this.#ready = this.#ready.filter((other) => other !== resident);
        this.#disown(resident);
      } // a busy one is disowned when its commit comes back
    }
  }

  answered(ref: ActorRef, messageId: string, answer: Answer): void {
    this.answers.resolve(ref, messageId, answer);
  }

  awaited() {
    return this.answers.awaited();
  }

  // ---- work with one actor alone ----

  /** Runs `work` between two commits of the actor, with its state (null: there is none). State that it spoils must be forgotten by it. */
  exclusively<T>(ref: ActorRef, work: (resident: Resident) => Promise<T>): Promise<T> {
    return new Promise((resolve, reject) => {
      const resident = this.#resident(ref);
      resident.exclusive.push(async () => {
        try {
          await this.#load([resident]);
          resolve(await work(resident));
        } catch (error) {
          this.#forgetState(resident);
          reject(error);
        }
      });
      this.#wake(resident);
    });
  }

  /** Applies one message to a resident that is held; null when it would change nothing. */
  foldOne(resident: Resident, envelope: Envelope): ActorCommit | null {
    const queued: Queued = { envelope, stored: false, unverified: false, returns: 0 };
    const result = fold(
      this.machine(resident.ref.kind),
      resident,
      [queued],
      this.#store.now(),
      this.#epoch(resident.ref),
    );
    const outcome = result.commit?.changes.entries[0]?.outcome;
    if (result.poison) throw result.poison.error;
    if (result.commit && outcome === 'transition') return result.commit;
    this.#forgetState(resident);
    return null;
  }

  /** What follows a commit that the caller wrote himself. */
  committed(commit: ActorCommit): void {
    this.#follow(commit);
  }

  forgetState(resident: Resident): void {
    this.#forgetState(resident);
  }

  async stop(): Promise<void> {
    this.#stopping = true;
    this.timers.stop();
    await this.effects.stop();
    while (this.#running.size > 0) await Promise.all(this.#running);
    const stopped = new WrennError('unavailable', 'the runtime was stopped');
    for (const resident of this.#residents.values()) for (const { settle } of resident.queue) settle?.(stopped);
    this.answers.rejectAll(stopped);
    this.#residents.clear();
    this.#idle.clear();
    this.#ready = [];
  }

  // ---- mailboxes ----

  #resident(ref: ActorRef): Resident {
    const key = refKey(ref);
    let resident = this.#residents.get(key);
    if (!resident) {
      resident = newResident(ref, key);
      this.#residents.set(key, resident);
    }
    this.#idle.delete(resident);
    return resident;
  }

  #enqueue(queued: Queued): void {
    if (this.#stopping || !this.machines.has(queued.envelope.to.kind)) return;
    const resident = this.#resident(queued.envelope.to);
    const twin = resident.ids.get(queued.envelope.id);
    if (twin) return joinTwin(twin, queued);
    resident.ids.set(queued.envelope.id, queued);
    resident.queue.push(queued);
    this.#wake(resident);
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
      while (this.#running.size < this.#lanes && this.#ready.length > 0) {
        const lane = this.#lane(this.#ready.splice(0, BATCH_ACTORS)).finally(() => {
          this.#running.delete(lane);
          if (this.#ready.length > 0) this.#schedule();
        });
        this.#running.add(lane);
      }
    });
  }

  async #lane(residents: Resident[]): Promise<void> {
    for (const resident of residents) resident.phase = 'busy';
    try {
      await this.#batch(residents.filter((resident) => !this.#runExclusive(resident)));
    } catch (error) {
      this.#log.error({ err: error }, 'a batch of actors failed; they are read again');
      await pause(STORE_AWAY_MS);
      for (const resident of residents) this.#forgetState(resident);
    } finally {
      for (const resident of residents)
        if (resident.phase === 'busy' && !this.#held.has(resident)) this.#rest(resident);
    }
  }

  readonly #held = new Set<Resident>();

  #runExclusive(resident: Resident): boolean {
    const work = resident.exclusive.shift();
    if (!work) return false;
    this.#held.add(resident);
    const running = work().finally(() => {
      this.#running.delete(running);
      this.#held.delete(resident);
      this.#rest(resident);
    });
    this.#running.add(running);
    return true;
  }

  /** After a commit: the mailbox goes on, or the actor may leave memory. */
  #rest(resident: Resident): void {
    resident.phase = 'idle';
    if (this.#store.epochOf(resident.ref) === null) return this.#disown(resident);
    if (resident.queue.length > 0 || resident.exclusive.length > 0) return this.#wake(resident);
    resident.foldLimit = 0;
    this.#idle.add(resident);
    for (const oldest of this.#idle) {
      if (this.#idle.size <= this.#keepIdle) break;
      this.#forget(oldest);
    }
  }

  #forget(resident: Resident): void {
    this.#idle.delete(resident);
    this.#residents.delete(resident.key);
  }

  #forgetState(resident: Resident): void {
    resident.state = null;
    resident.known = false;
  }

  /** Its messages go to the new owner: those of the outbox lie there already, firings are found there in the rows. */
  #disown(resident: Resident): void {
    const { queue, exclusive } = resident;
    resident.queue = [];
    resident.ids.clear();
    this.#forgetState(resident);
    resident.phase = 'idle';
    for (const queued of queue) this.#forward(queued);
    if (exclusive.length > 0) return this.#wake(resident);
    this.#forget(resident);
  }

  #forward(queued: Queued): void {
    const { envelope, stored, settle } = queued;
    if (stored || isOwnFiring(envelope)) return settle?.(undefined);
    const forwarding = this.#store.forward(envelope).then(
      () => settle?.(undefined),
      (error: unknown) => settle?.(error),
    );
    this.#running.add(forwarding);
    forwarding.finally(() => this.#running.delete(forwarding));
  }

  // ---- one batch ----

  async #batch(residents: Resident[]): Promise<void> {
    const owned = residents.filter(({ ref }) => this.#store.epochOf(ref) !== null);
    await this.#load(owned);
    const folds: { resident: Resident; fold: Fold }[] = [];
    for (const resident of owned) {
      const epoch = this.#store.epochOf(resident.ref);
      if (epoch !== null) folds.push({ resident, fold: this.#fold(resident, epoch) });
    }
    const commits = folds.flatMap(({ fold: { commit } }) => (commit ? [commit] : []));
    const outcomes = commits.length > 0 ? await this.#store.commit(commits) : [];
    const outcomeOf = new Map(commits.map((commit, i) => [commit, outcomes[i] as CommitOutcome]));
    for (const { resident, fold: done } of folds) {
      const outcome = done.commit && (outcomeOf.get(done.commit) as CommitOutcome);
      await this.#settle(resident, done, outcome).catch((error: unknown) => {
        this.#log.error({ err: error, actor: resident.key }, 'what followed a commit failed');
        this.#putBack(resident, done.taken);
      });
    }
  }

  #fold(resident: Resident, epoch: number): Fold {
    const { state } = resident;
    resident.queue = resident.queue.filter((queued) => {
      if (!queued.unverified) return true;
      queued.unverified = false;
      if (isCurrent(state, queued.envelope)) return true;
      resident.ids.delete(queued.envelope.id);
      return false;
    });
    const take = resident.queue.splice(0, resident.foldLimit || FOLD_MESSAGES);
    const result = fold(this.machine(resident.ref.kind), resident, take, this.#store.now(), epoch);
    resident.queue.unshift(...result.left);
    return result;
  }

  async #load(residents: readonly Resident[]): Promise<void> {
    const unknown = residents.filter(({ known }) => !known);
    if (unknown.length === 0) return;
    const stored = await this.#store.load(unknown.map(({ ref }) => ref));
    for (const [i, resident] of unknown.entries()) {
      const actor = stored[i];
      try {
        resident.state = actor
          ? restoreActor(this.machine(resident.ref.kind), actor.row, actor.timers, actor.effects)
          : null;
        resident.known = true;
      } catch (error) {
        this.#unreadable(resident, error);
      }
    }
  }

  /** E.g. written by a newer program: its messages wait in the outbox, whoever asks here is told. */
  #unreadable(resident: Resident, error: unknown): void {
    this.#log.error({ err: error, actor: resident.key }, 'a stored actor cannot be read');
    for (const { settle } of resident.queue) settle?.(error);
    resident.queue = [];
    resident.ids.clear();
  }

  async #settle(resident: Resident, done: Fold, outcome: CommitOutcome | null): Promise<void> {
    if (outcome?.type === 'committed' && done.commit) {
      for (const { envelope } of done.taken) resident.ids.delete(envelope.id);
      this.#follow(done.commit);
      for (const { settle } of done.taken) settle?.(undefined);
    } else if (outcome?.type === 'failed') await this.#failed(resident, done.taken, outcome.error);
    else if (outcome) await this.#recover(resident, done.taken);
    for (const queued of done.unaddressed) await this.#notFound(resident, queued);
    if (done.poison) await this.#park(resident, done.poison.queued, done.poison.error);
  }

  #follow({ ref, changes }: ActorCommit): void {
    for (const name of changes.timersCleared) this.timers.clear(ref, name);
    for (const timer of changes.timersSet.values()) {
      if (this.#store.isSoon(timer.dueAt)) this.timers.set(ref, timer);
      else this.timers.clear(ref, timer.name);
    }
    for (const number of changes.effectsClosed) this.effects.close(ref, number);
    for (const effect of changes.effectsSet.values()) this.effects.open(ref, effect);
    for (const { messageId, answer } of changes.answers) this.answers.resolve(ref, messageId, answer);
    for (const envelope of changes.outbox) {
      if (this.#store.epochOf(envelope.to) !== null) this.deliver([envelope]);
    }
  }

  /** Lost or unknown: what was accepted after all is settled with the first answer, the rest is tried again in its order. */
  async #recover(resident: Resident, taken: readonly Queued[]): Promise<void> {
    this.#forgetState(resident);
    const { ref } = resident;
    const accepted = await this.#store.accepted(
      ref,
      taken.map(({ envelope }) => envelope.id),
    );
    const again: Queued[] = [];
    for (const queued of taken) {
      const { envelope, settle, stored } = queued;
      if (!accepted.has(envelope.id)) {
        again.push(queued);
        continue;
      }
      resident.ids.delete(envelope.id);
      const answer = await this.#store.answer(ref, envelope.id);
      if (stored) await this.#store.drop(envelope, null);
      settle?.(undefined);
      if (answer) this.answers.resolve(ref, envelope.id, answer);
    }
    this.#putBack(resident, again);
    if (again.some(({ returns }) => returns > 3)) await pause(STORE_AWAY_MS);
  }

  #putBack(resident: Resident, taken: readonly Queued[]): void {
    this.#forgetState(resident);
    for (const queued of taken) {
      queued.returns += 1;
      queued.unverified = isOwnFiring(queued.envelope);
      resident.ids.set(queued.envelope.id, queued);
    }
    resident.queue.unshift(...taken);
  }

  /** The store refuses the actor's rows: its messages are tried one by one, and the culprit is put aside. */
  async #failed(resident: Resident, taken: readonly Queued[], error: unknown): Promise<void> {
    const [culprit] = taken;
    if (taken.length > 1 || !culprit) {
      resident.foldLimit = 1;
      return this.#putBack(resident, taken);
    }
    this.#forgetState(resident);
    await this.#park(resident, culprit, error);
  }

  async #park(resident: Resident, { envelope, settle }: Queued, error: unknown): Promise<void> {
    this.#log.error({ err: error, actor: resident.key, event: envelope.event.type }, 'a message was put aside');
    await this.#store.park(envelope, error);
    resident.ids.delete(envelope.id);
    if (envelope.timer) this.#again(resident, envelope.timer);
    settle?.(new WrennError('machine_error', `${envelope.event.type} could not be applied`, { cause: error }));
  }

  #again(resident: Resident, { name, visit }: { name: string; visit: number }): void {
    const dueAt = this.#store.now() + TIMER_AGAIN_MS;
    this.timers.set(resident.ref, { name, visit, ...this.machine(resident.ref.kind).delayOf(name), dueAt });
  }

  async #notFound(resident: Resident, queued: Queued): Promise<void> {
    const { envelope, stored, settle } = queued;
    resident.ids.delete(envelope.id);
    const answer = notFound(envelope);
    if (stored) await this.#store.drop(envelope, answer);
    if (envelope.asked) {
      settle?.(undefined);
      this.answers.resolve(envelope.to, envelope.id, answer);
    } else settle?.(new WrennError('not_found', answer.error.message));
  }

  // ---- timers and effects ----

  #fire(ref: ActorRef, { name, visit }: TimerRow): void {
    if (this.#store.epochOf(ref) === null) return;
    const id = `timer:${refKey(ref)}:${name}:${visit}`;
    const cause = { type: 'timer', name: this.machine(ref.kind).delayOf(name).delay } as const;
    const envelope: Envelope = { id, to: ref, event: { type: name }, cause, timer: { name, visit }, asked: false };
    this.#enqueue({ envelope, stored: false, unverified: true, returns: 0 });
  }

  #finished(ref: ActorRef, effect: EffectRow, event: DomainEvent): void {
    const key = effectKey(ref, effect.number);
    const cause = { type: 'effect', name: effect.name, key } as const;
    const envelope: Envelope = {
      id: `${key}:${effect.attempts + 1}`,
      to: ref,
      event,
      cause,
      effectKey: key,
      asked: false,
    };
    this.#enqueue({ envelope, stored: false, unverified: false, returns: 0 });
  }

  async #saveAttempt(ref: ActorRef, effect: EffectRow): Promise<boolean> {
    const state: ActorState | null | undefined = this.#residents.get(refKey(ref))?.state;
    if (state?.effects.has(effect.number)) state.effects.set(effect.number, effect);
    return this.#store.saveAttempt(ref, effect);
  }

  #epoch(ref: ActorRef): number {
    const epoch = this.#store.epochOf(ref);
    if (epoch === null) throw new WrennError('not_owner', `${refKey(ref)} is owned by another replica`);
    return epoch;
  }
}

/** Firings and results of this process: their owner finds them again in the rows, so they are never sent anywhere. */
function isOwnFiring({ timer, cause }: Envelope): boolean {
  return timer !== undefined || cause.type === 'effect';
}

/** The same message twice at a time: both senders hear of it. */
function joinTwin(twin: Queued, queued: Queued): void {
  twin.stored ||= queued.stored;
  const { settle } = twin;
  if (!queued.settle) return;
  twin.settle = (error) => {
    settle?.(error);
    queued.settle?.(error);
  };
}

function pause(ms: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, ms));
}

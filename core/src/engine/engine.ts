import type { ActorDefinition, ActorRef, Answer, DomainEvent } from '../definition.ts';
import { WrennError } from '../errors.ts';
import type { Logger } from '../log.ts';
import type { EffectHandler, SendOptions } from '../runtime.ts';
import type { EffectRow, Envelope, TimerRow } from '../step/actor-state.ts';
import { PreparedMachine } from '../step/prepared-machine.ts';
import { effectKey, effectNumber, refKey } from '../step/refs.ts';
import { storable } from '../step/storable.ts';
import { Answers } from './answers.ts';
import { Batch } from './batch.ts';
import { EffectRunner } from './effect-runner.ts';
import { fold, isOwnFiring } from './fold.ts';
import { Mailboxes } from './mailboxes.ts';
import { forgetState, type Queued, queued, type Resident } from './resident.ts';
import type { ActorCommit, Store, StoreListener } from './store.ts';
import { TimerQueue } from './timer-queue.ts';

export interface EngineOptions {
  readonly store: Store;
  readonly definitions: readonly ActorDefinition[];
  readonly handlers: Readonly<Record<string, EffectHandler>>;
  readonly log: Logger;
  /** Commits in flight at a time, each of other actors. */
  readonly lanes: number;
  /** Idle actors kept in memory. */
  readonly keepIdle?: number;
}

const KEEP_IDLE = 1_000;
/** A timer whose firing could not be applied is tried again after this time: nothing is stuck for good (I3). */
const TIMER_AGAIN_MS = 60_000;

/**
 * Both runtimes: messages to mailboxes, group commit, and everything that follows one, over either store. Nobody is told
 * of anything before it is committed.
 */
export class Engine implements StoreListener {
  readonly definitions: ReadonlyMap<string, ActorDefinition>;
  readonly answers = new Answers();
  readonly effects: EffectRunner;
  readonly timers: TimerQueue;
  readonly #machines: ReadonlyMap<string, PreparedMachine>;
  readonly #store: Store;
  readonly #mailboxes: Mailboxes;
  readonly #batch: Batch;
  readonly #forwarding = new Set<Promise<void>>();
  #stopping = false;

  constructor({ store, definitions, handlers, log, lanes, keepIdle = KEEP_IDLE }: EngineOptions) {
    this.#store = store;
    this.definitions = new Map(definitions.map((definition) => [definition.kind, definition]));
    this.#machines = new Map(definitions.map((definition) => [definition.kind, new PreparedMachine(definition)]));
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
    this.#batch = new Batch({
      store,
      log,
      machine: (kind) => this.machine(kind),
      follow: (commit) => this.committed(commit),
      answered: ({ to, id }, answer) => this.answered(to, id, answer),
      putAside: (envelope, error) => this.#putAside(envelope, error),
    });
    this.#mailboxes = new Mailboxes({
      log,
      lanes,
      keepIdle,
      batch: (residents) => this.#batch.run(residents),
      isOwned: (ref) => store.epochOf(ref) !== null,
      passOn: (left) => {
        for (const one of left) this.#forward(one);
      },
    });
  }

  /** Actors in memory. */
  get residents(): number {
    return this.#mailboxes.size;
  }

  machine(kind: string): PreparedMachine {
    const machine = this.#machines.get(kind);
    if (!machine) throw unknownKind(kind);
    return machine;
  }

  ask(envelope: Envelope, { signal }: SendOptions): Promise<Answer> {
    const { to, id } = envelope;
    const answer = this.answers.wait(to, id, signal);
    const settle = (error: unknown) => error !== undefined && this.answers.reject(to, id, error);
    if (!signal?.aborted) this.send(envelope, settle);
    return answer;
  }

  /** Hands a new message to its actor, here or elsewhere; `settle` hears when it is durable. */
  send(envelope: Envelope, settle?: Queued['settle']): void {
    if (this.#stopping) settle?.(new WrennError('unavailable', 'the runtime is stopping'));
    else if (!this.#machines.has(envelope.to.kind)) settle?.(unknownKind(envelope.to.kind));
    else if (this.#store.epochOf(envelope.to) === null) this.#forward(queued(envelope, { settle }));
    else this.#mailboxes.put(queued(envelope, { settle }));
  }

  /** Runs `work` between two commits of the actor, with its state. A throw has the state read again. */
  exclusively<T>(ref: ActorRef, work: (resident: Resident) => Promise<T>): Promise<T> {
    return new Promise((resolve, reject) => {
      this.#mailboxes.exclusively(ref, async (resident) => {
        try {
          await this.#batch.load([resident]);
          resolve(await work(resident));
        } catch (error) {
          forgetState(resident);
          reject(error);
        }
      });
    });
  }

  /** Applies one message to an actor that is held; null, with nothing changed, when it is refused or late. */
  foldOne(resident: Resident, envelope: Envelope): ActorCommit | null {
    const epoch = this.#store.epochOf(resident.ref);
    if (epoch === null) throw new WrennError('not_owner', `${resident.key} is owned by another replica`);
    const done = fold(this.machine(resident.ref.kind), resident, [queued(envelope)], this.#store.now(), epoch);
    if (done.poison) throw done.poison.error;
    if (done.commit?.changes.entries[0]?.outcome === 'transition') return done.commit;
    forgetState(resident);
    return null;
  }

  /** What follows a commit that stands. */
  committed({ ref, changes }: ActorCommit): void {
    for (const name of changes.timersCleared) this.timers.clear(ref, name);
    for (const timer of changes.timersSet.values()) {
      if (this.#store.isSoon(timer.dueAt)) this.timers.set(ref, timer);
      else this.timers.clear(ref, timer.name);
    }
    for (const number of changes.effectsClosed) this.effects.close(ref, number);
    for (const effect of changes.effectsSet.values()) this.effects.open(ref, effect);
    for (const { messageId, answer } of changes.answers) this.answered(ref, messageId, answer);
    this.deliver(changes.outbox.filter(({ to }) => this.#store.epochOf(to) !== null));
  }

  async stop(): Promise<void> {
    this.#stopping = true;
    this.timers.stop();
    await this.effects.stop();
    const reason = new WrennError('unavailable', 'the runtime was stopped');
    await this.#mailboxes.stop(reason);
    await Promise.all(this.#forwarding);
    this.answers.rejectAll(reason);
  }

  // ---- what the store tells ----

  deliver(envelopes: readonly Envelope[]): void {
    for (const envelope of envelopes) {
      if (!this.#stopping && this.#machines.has(envelope.to.kind))
        this.#mailboxes.put(queued(envelope, { stored: true }));
    }
  }

  setTimers(timers: readonly { ref: ActorRef; timer: TimerRow }[]): void {
    for (const { ref, timer } of timers) if (this.#machines.has(ref.kind)) this.timers.set(ref, timer);
  }

  runEffects(effects: readonly { ref: ActorRef; effect: EffectRow }[]): void {
    for (const { ref, effect } of effects) if (this.#machines.has(ref.kind)) this.effects.open(ref, effect);
  }

  release(lost: (ref: ActorRef) => boolean): void {
    this.timers.release(lost);
    this.effects.release(lost);
    this.#mailboxes.release(lost);
  }

  answered(ref: ActorRef, messageId: string, answer: Answer): void {
    this.answers.resolve(ref, messageId, answer);
  }

  awaited() {
    return this.answers.awaited();
  }

  // ---- messages ----

  /** To its owner elsewhere. What is stored lies there already, firings are found there in the rows. */
  #forward({ envelope, stored, settle }: Queued): void {
    if (stored || isOwnFiring(envelope)) {
      settle?.(undefined);
      return;
    }
    const forwarding: Promise<void> = this.#store
      .forward(envelope)
      .then(
        () => settle?.(undefined),
        (error: unknown) => settle?.(error),
      )
      .finally(() => this.#forwarding.delete(forwarding));
    this.#forwarding.add(forwarding);
  }

  #fire(ref: ActorRef, { name, visit, delay }: TimerRow): void {
    if (this.#stopping || this.#store.epochOf(ref) === null) return;
    const id = `timer:${refKey(ref)}:${name}:${visit}`;
    const cause = { type: 'timer', name: delay } as const;
    const envelope: Envelope = { id, to: ref, event: { type: name }, cause, timer: { name, visit }, asked: false };
    this.#mailboxes.put(queued(envelope, { unverified: true }));
  }

  #finished(ref: ActorRef, { number, name, attempts }: EffectRow, result: DomainEvent): void {
    if (this.#stopping) return;
    const key = effectKey(ref, number);
    const cause = { type: 'effect', name, key } as const;
    const event = storable(result);
    this.#mailboxes.put(queued({ id: `${key}:${attempts + 1}`, to: ref, event, cause, effectKey: key, asked: false }));
  }

  #saveAttempt(ref: ActorRef, effect: EffectRow): Promise<boolean> {
    const state = this.#mailboxes.peek(ref)?.state;
    if (state?.effects.has(effect.number)) state.effects.set(effect.number, effect);
    return this.#store.saveAttempt(ref, effect);
  }

  async #putAside({ to, timer, cause, effectKey: key }: Envelope, error: unknown): Promise<void> {
    if (timer) {
      const dueAt = this.#store.now() + TIMER_AGAIN_MS;
      this.timers.set(to, { ...timer, ...this.machine(to.kind).delayOf(timer.name), dueAt });
    } else if (cause.type === 'effect' && key !== undefined) {
      const number = effectNumber(to, key);
      if (number !== null) await this.effects.park(to, number, error);
    }
  }
}

function unknownKind(kind: string): WrennError {
  return new WrennError('bad_request', `there are no actors of kind ${kind}`);
}

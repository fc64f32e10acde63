import { WrennError } from '../errors.ts';
import type { Logger } from '../log.ts';
import type { Envelope } from '../step/actor-state.ts';
import type { PreparedMachine } from '../step/prepared-machine.ts';
import { restoreActor } from '../step/stored-actor.ts';
import { type Fold, fold, isCurrent, isOwnFiring, notFound } from './fold.ts';
import { forgetState, type Queued, type Resident } from './resident.ts';
import type { ActorCommit, CommitOutcome, Store } from './store.ts';

export interface BatchHost {
  readonly store: Store;
  readonly log: Logger;
  machine(kind: string): PreparedMachine;
  /** Timers, effects, answers and messages of a commit that stands. */
  follow(commit: ActorCommit): void;
  /** The first answer of a message that had been accepted before, or the refusal of one that no actor takes. */
  answered(envelope: Envelope, answer: Parameters<Store['drop']>[1] & object): void;
  /** A message was put aside: its timer or effect must not be forgotten. */
  putAside(envelope: Envelope, error: unknown): Promise<void>;
}

/** Messages of one actor per commit. */
const FOLD_MESSAGES = 64;
/** A message that keeps losing (somebody else writes the actor) waits before its next try. */
const PATIENT_RETURNS = 3;
const AGAIN_MS = 100;

/** One batch of actors: read those that are not in memory, fold their messages, commit together, settle each. */
export class Batch {
  readonly #host: BatchHost;

  constructor(host: BatchHost) {
    this.#host = host;
  }

  async run(residents: readonly Resident[]): Promise<void> {
    const { store, log } = this.#host;
    await this.load(residents.filter(({ ref }) => store.epochOf(ref) !== null));
    const folds = residents.flatMap((resident) => {
      const epoch = store.epochOf(resident.ref);
      return epoch === null || !resident.known ? [] : [{ resident, done: this.#fold(resident, epoch) }];
    });
    const commits = folds.flatMap(({ done: { commit } }) => (commit ? [commit] : []));
    const outcomes = commits.length > 0 ? await store.commit(commits) : [];
    const outcomeOf = new Map(commits.map((commit, i) => [commit, outcomes[i] as CommitOutcome]));
    for (const { resident, done } of folds) {
      const outcome = done.commit && (outcomeOf.get(done.commit) as CommitOutcome);
      await this.#settle(resident, done, outcome).catch((err: unknown) => {
        log.error({ err, actor: resident.key }, 'what follows a commit failed; it is looked at again');
        this.#putBack(resident, [...done.unaddressed, ...done.taken]);
      });
    }
  }

  async load(residents: readonly Resident[]): Promise<void> {
    const unknown = residents.filter(({ known }) => !known);
    if (unknown.length === 0) return;
    const stored = await this.#host.store.load(unknown.map(({ ref }) => ref));
    for (const [i, resident] of unknown.entries()) {
      const actor = stored[i] ?? null;
      const machine = this.#host.machine(resident.ref.kind);
      try {
        resident.state = actor && restoreActor(machine, actor.row, actor.timers, actor.effects);
        resident.known = true;
      } catch (error) {
        this.#unreadable(resident, error);
      }
    }
  }

  /** E.g. written by a newer program: whoever asks here is told; messages of the outbox and firings stay in their rows. */
  #unreadable(resident: Resident, error: unknown): void {
    this.#host.log.error({ err: error, actor: resident.key }, 'a stored actor cannot be read');
    resident.ids.clear();
    for (const { settle } of resident.queue.splice(0)) settle?.(error);
  }

  #fold(resident: Resident, epoch: number): Fold {
    const take = this.#current(resident).splice(0, resident.foldLimit ?? FOLD_MESSAGES);
    resident.queue.splice(0, take.length);
    const { store } = this.#host;
    const done = fold(this.#host.machine(resident.ref.kind), resident, take, store.now(), epoch);
    resident.queue.unshift(...done.left);
    return done;
  }

  /** Firings that mean nothing any more are dropped before anything is applied: they raced with what is stored already. */
  #current(resident: Resident): Queued[] {
    for (let i = resident.queue.length - 1; i >= 0; i -= 1) {
      const one = resident.queue[i] as Queued;
      if (one.unverified && !isCurrent(resident.state, one.envelope)) {
        resident.queue.splice(i, 1);
        resident.ids.delete(one.envelope.id);
      }
      one.unverified = false;
    }
    return [...resident.queue];
  }

  async #settle(resident: Resident, done: Fold, outcome: CommitOutcome | null): Promise<void> {
    if (done.commit && outcome?.type === 'committed') {
      for (const { envelope } of done.taken) resident.ids.delete(envelope.id);
      this.#host.follow(done.commit);
      for (const { settle } of done.taken) settle?.(undefined);
    } else if (outcome?.type === 'failed') {
      await this.#failed(resident, done.taken, outcome.error);
    } else if (outcome) {
      await this.#recover(resident, done.taken);
    }
    if (done.unaddressed.length > 0) await this.#notFound(resident, done.unaddressed);
    if (done.poison) await this.#putAside(resident, done.poison.queued, done.poison.error);
  }

  /** Lost or unknown: what was accepted after all is settled with the first answer, the rest is tried again in its order. */
  async #recover(resident: Resident, taken: readonly Queued[]): Promise<void> {
    forgetState(resident);
    const { store } = this.#host;
    const { ref } = resident;
    const ids = taken.map(({ envelope }) => envelope.id);
    const accepted = await store.accepted(ref, ids);
    const again = taken.filter(({ envelope }) => !accepted.has(envelope.id));
    for (const { envelope, stored, settle } of taken) {
      if (!accepted.has(envelope.id)) continue;
      const answer = await store.answer(ref, envelope.id);
      if (stored) await store.drop(envelope, null);
      resident.ids.delete(envelope.id);
      settle?.(undefined);
      if (answer) this.#host.answered(envelope, answer);
    }
    this.#putBack(resident, again);
    if (again.some(({ returns }) => returns > PATIENT_RETURNS)) {
      await new Promise((resolve) => setTimeout(resolve, AGAIN_MS));
    }
  }

  #putBack(resident: Resident, taken: readonly Queued[]): void {
    forgetState(resident);
    const back = taken.filter(({ envelope }) => resident.ids.has(envelope.id));
    for (const one of back) {
      one.returns += 1;
      one.unverified = isOwnFiring(one.envelope);
    }
    resident.queue.unshift(...back);
  }

  /** The store refuses the actor's rows: its messages are tried one by one, and the culprit is put aside. */
  async #failed(resident: Resident, taken: readonly Queued[], error: unknown): Promise<void> {
    const [culprit] = taken;
    if (taken.length > 1 || !culprit) {
      resident.foldLimit = 1;
      this.#putBack(resident, taken);
    } else {
      forgetState(resident);
      await this.#putAside(resident, culprit, error);
    }
  }

  async #putAside(resident: Resident, { envelope, settle }: Queued, error: unknown): Promise<void> {
    const { store, log } = this.#host;
    log.error({ err: error, actor: resident.key, event: envelope.event.type }, 'a message was put aside');
    await store.park(envelope, error);
    resident.ids.delete(envelope.id);
    settle?.(new WrennError('machine_error', `${envelope.event.type} could not be applied`, { cause: error }));
    await this.#host.putAside(envelope, error);
  }

  /** No commit stands behind this answer, so the store is asked whether it is ours to give: a new owner may know the actor. */
  async #notFound(resident: Resident, unaddressed: readonly Queued[]): Promise<void> {
    const { store } = this.#host;
    if (!(await store.stillOwns(resident.ref))) {
      this.#putBack(resident, unaddressed);
      return;
    }
    for (const { envelope, stored, settle } of unaddressed) {
      const answer = notFound(envelope);
      if (stored) await store.drop(envelope, answer);
      resident.ids.delete(envelope.id);
      if (envelope.asked) {
        settle?.(undefined);
        this.#host.answered(envelope, answer);
      } else {
        settle?.(new WrennError('not_found', answer.error.message));
      }
    }
  }
}

import type { ActorRef, Answer } from '../definition.ts';
import type { EffectRow, Envelope, TimerRow } from '../step/actor-state.ts';
import type { Changes } from '../step/changes.ts';
import type { ActorRow } from '../step/stored-actor.ts';

export interface StoredActor {
  readonly row: ActorRow;
  readonly timers: readonly TimerRow[];
  readonly effects: readonly EffectRow[];
}

/** Everything that up to 64 messages cause in one actor: written whole or not at all. */
export interface ActorCommit {
  readonly ref: ActorRef;
  /** Of the owner that computed it; an older one than the store knows loses. */
  readonly epoch: number;
  /** The `seq` that must be stored now; 0 = the actor must not be there. */
  readonly fromSeq: number;
  readonly row: ActorRow;
  readonly changes: Changes;
  /** Message ids that must be new to this actor. */
  readonly accepted: readonly string[];
  /** Ids of those that lie in the outbox and are done with. */
  readonly consumed: readonly string[];
  /** Nobody waits for it to be durable: it is enough that it is written, before every later one. */
  readonly lazy: boolean;
}

/**
 * `committed`; `lost`: another one wrote this actor, took its partition, or a message was accepted before: reload;
 * `unknown`: the connection broke, it may or may not be written: reload and look; `failed`: the store refuses it for good.
 */
export type CommitOutcome =
  | { readonly type: 'committed' }
  /** `leased`: the partition is still ours, so it was the actor or a message. */
  | { readonly type: 'lost'; readonly leased: boolean }
  | { readonly type: 'unknown' }
  | { readonly type: 'failed'; readonly error: unknown };

/** Where actors live. Two of them: PostgreSQL (control plane) and a journal on disk (host agent). */
export interface Store {
  /** Milliseconds since 1970 by the store's clock. */
  now(): number;
  /** The epoch under which this process owns the actor, or null when it does not. */
  epochOf(ref: ActorRef): number | null;
  /** Whether the store agrees with `epochOf`: asked before an answer that no commit confirms. */
  stillOwns(ref: ActorRef): Promise<boolean>;
  /** False for a timer that the store itself brings up when its time comes near. */
  isSoon(dueAt: number): boolean;
  load(refs: readonly ActorRef[]): Promise<(StoredActor | null)[]>;
  /** In the order of the batch. Never throws. */
  commit(batch: readonly ActorCommit[]): Promise<CommitOutcome[]>;
  /** Which of these messages the actor has accepted. */
  accepted(ref: ActorRef, messageIds: readonly string[]): Promise<ReadonlySet<string>>;
  answer(ref: ActorRef, messageId: string): Promise<Answer | null>;
  /** Hands a message to the actor's owner, wherever that is: durable when it resolves. */
  forward(envelope: Envelope): Promise<void>;
  /** Ends a message that no actor takes: out of the outbox, its answer for whoever asked from elsewhere. */
  drop(envelope: Envelope, answer: Answer | null): Promise<void>;
  /** Puts a message aside that can be neither applied nor stored, with the reason, so that what follows it goes on. */
  park(envelope: Envelope, error: unknown): Promise<void>;
  /** Writes how an effect's attempts went; false when it is not open any more. */
  saveAttempt(ref: ActorRef, effect: EffectRow): Promise<boolean>;
}

/** What a store tells the engine. */
export interface StoreListener {
  /** Messages that lie in the outbox, in their order. */
  deliver(envelopes: readonly Envelope[]): void;
  setTimers(timers: readonly { readonly ref: ActorRef; readonly timer: TimerRow }[]): void;
  runEffects(effects: readonly { readonly ref: ActorRef; readonly effect: EffectRow }[]): void;
  /** This process does not own these actors any more: forget them, pass on what they have not handled. */
  release(lost: (ref: ActorRef) => boolean): void;
  /** An answer that was committed elsewhere. */
  answered(ref: ActorRef, messageId: string, answer: Answer): void;
  /** Commands of this process whose answer is awaited. */
  awaited(): readonly { readonly ref: ActorRef; readonly messageId: string }[];
}

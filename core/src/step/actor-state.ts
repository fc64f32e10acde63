import type { AnyMachineSnapshot } from 'xstate';
import type { ActorRef, Answer, Cause, DomainEvent, Json } from '../definition.ts';

/** A timer that is set: XState's `after` as data. `visit` is unique within the actor: a firing that names another one is late. */
export interface TimerRow {
  /** The delayed event's type; one timer of a name at a time. */
  readonly name: string;
  readonly visit: number;
  /** Name of the delay, as in the machine. */
  readonly delay: string;
  /** Dotted path of the state node that set it. */
  readonly node: string;
  readonly dueAt: number;
}

/** An effect that is open: to be done outside while its state node stays active in the same visit. */
export interface EffectRow {
  /** Unique within the actor, rising. */
  readonly number: number;
  readonly name: string;
  readonly node: string;
  readonly visit: number;
  readonly input: Json;
  readonly openedAt: number;
  /** Attempts that failed. */
  readonly attempts: number;
  /** Null: not before something happens (a report, a hand). */
  readonly nextAttemptAt: number | null;
  readonly lastError: { readonly code: string; readonly message: string } | null;
  readonly status: 'open' | 'parked';
}

/** Bookkeeping of the runtime that is stored beside the machine's snapshot. */
export interface Ledger {
  /** Last number given to a visit, a timer or an effect. */
  counter: number;
  /** Visit number of each active node that effects depend on. */
  visits: Record<string, number>;
  /** Message ids of commands whose answer is still owed (I8). */
  owed: string[];
}

/** One actor in memory, after its last step. */
export interface ActorState {
  readonly ref: ActorRef;
  seq: number;
  snapshot: AnyMachineSnapshot;
  machineVersion: number;
  ledger: Ledger;
  readonly timers: Map<string, TimerRow>;
  readonly effects: Map<number, EffectRow>;
  readonly createdAt: number;
  since: number;
  updatedAt: number;
  /** Leaf paths, joined. */
  path: string;
  teamId: string | null;
  /** Context as outsiders may see it; the diff of the next entry starts from it. */
  publicContext: Json;
}

/** A message on its way to one actor. */
export interface Envelope {
  readonly id: string;
  readonly to: ActorRef;
  readonly event: DomainEvent;
  readonly cause: Cause;
  readonly effectKey?: string;
  /** Set on the firing of a timer. */
  readonly timer?: { readonly name: string; readonly visit: number };
  /** Somebody awaits the answer: also events that are no commands are answered. */
  readonly asked: boolean;
}

/** One row of the journal, before the store gives it a place in the feed. */
export interface EntryRow {
  readonly seq: number;
  readonly at: number;
  readonly outcome: 'transition' | 'refused' | 'late';
  readonly event: DomainEvent;
  readonly messageId: string;
  readonly cause: Cause;
  readonly effectKey: string | null;
  readonly from: Json;
  readonly to: Json;
  readonly path: string;
  readonly diff: readonly Json[];
  readonly machineVersion: number;
  readonly teamId: string | null;
}

export interface AnswerRow {
  readonly messageId: string;
  readonly answer: Answer;
}

export interface AuditRow {
  readonly at: number;
  readonly teamId: string | null;
  readonly actor: { readonly type: string; readonly id: string | null; readonly name: string | null };
  readonly action: string;
  readonly status: string;
  readonly metadata: Json;
}

/** A message that a transition sends; its id is `kind:id:seq:n` of the sender. */
export type OutboxRow = Envelope;

/** Rows of one read-model table to write and keys to remove. */
export interface ProjectionRows {
  readonly table: string;
  readonly upsert: Record<string, Json>[];
  readonly remove: Record<string, Json>[];
}

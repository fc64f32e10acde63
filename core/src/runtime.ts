import type { ActorDefinition, ActorRef, ActorView, Answer, Cause, DomainEvent, Json } from './definition.ts';

export interface SendOptions {
  /** Deduplicates: the same id is accepted once for ever and gets the first answer. Default: a new random id. */
  readonly messageId?: string;
  readonly cause: Cause;
  readonly signal?: AbortSignal;
  /** The key of the effect that this event answers, when it is a result or a report of one. */
  readonly effectKey?: string;
}

/** One line of an actor's journal; `cursor` orders the feed over all actors and never skips a late commit. */
export interface JournalEntry {
  readonly cursor: string;
  readonly kind: string;
  readonly id: string;
  readonly seq: number;
  readonly at: number;
  /** `transition` changed something; `refused` an illegal command; `late` a result that was no longer expected. */
  readonly outcome: 'transition' | 'refused' | 'late';
  readonly event: DomainEvent;
  readonly messageId: string;
  readonly cause: Cause;
  /** The effect whose result or report the event was. */
  readonly effectKey?: string | null;
  readonly from: Json;
  readonly to: Json;
  readonly path: string;
  /** RFC 6902 operations that lead from the earlier public context to the later one. */
  readonly diff: readonly Json[];
  readonly machineVersion: number;
  readonly teamId: string | null;
}

export interface OpenTimer {
  readonly name: string;
  readonly dueAt: number;
  readonly event: string;
  /** State node that armed it. */
  readonly state: string;
}

export interface OpenEffect {
  readonly key: string;
  readonly name: string;
  readonly number: number;
  readonly state: string;
  readonly attempts: number;
  readonly openedAt: number;
  readonly nextAttemptAt: number | null;
  readonly lastError: { readonly code: string; readonly message: string } | null;
  readonly status: 'open' | 'running' | 'parked';
}

export interface LegalCommand {
  readonly type: string;
  readonly title: string;
  readonly destructive: boolean;
  readonly legal: boolean;
  /** Set where it is not legal. */
  readonly reason?: string;
}

/** What an effect handler is given. `key` is stable over retries and restarts: the other side deduplicates by it. */
export interface EffectJob {
  readonly key: string;
  readonly name: string;
  readonly actor: ActorRef;
  readonly input: Json;
  readonly attempt: number;
  /** The owner's fencing epoch; the receiver refuses an older one than it has seen. */
  readonly epoch: number;
}

/**
 * Does the work once and returns the event to deliver (closing the effect), or null when the result will arrive as a
 * report of its own. A thrown `TerminalError` gives up at once; anything else is retried by the effect's policy.
 */
export type EffectHandler = (job: EffectJob, signal: AbortSignal) => Promise<DomainEvent | null>;

/** A connection inside a transaction, as far as callers of `transact` need it. */
export interface Transaction {
  query<Row extends object>(
    text: string,
    values?: readonly unknown[],
  ): Promise<{ rows: Row[]; rowCount: number | null }>;
}

/**
 * The durable actor runtime. Control plane: over PostgreSQL (`createPostgresRuntime`); agent: over an on-disk journal
 * (`createJournalRuntime`). Nobody is told of a transition before it is committed.
 */
export interface Runtime {
  /** Sends a command and resolves with its committed answer, from whichever replica it comes. */
  ask(to: ActorRef, event: DomainEvent, options: SendOptions): Promise<Answer>;
  /** Resolves once the event is durable and will be handled exactly once. */
  tell(to: ActorRef, event: DomainEvent, options: SendOptions): Promise<void>;
  read(ref: ActorRef): Promise<ActorView | null>;
  timers(ref: ActorRef): Promise<OpenTimer[]>;
  effects(ref: ActorRef): Promise<OpenEffect[]>;
  legalCommands(view: ActorView): LegalCommand[];
  journal(ref: ActorRef, page: { readonly afterSeq?: number; readonly limit?: number }): Promise<JournalEntry[]>;
  /** Entries after `cursor` (null: from now on), then live ones, in commit order, until the signal aborts. */
  feed(cursor: string | null, signal: AbortSignal): AsyncIterable<JournalEntry>;
  retryEffect(ref: ActorRef, effectNumber: number, cause: Cause): Promise<boolean>;
  giveUpEffect(ref: ActorRef, effectNumber: number, cause: Cause): Promise<boolean>;
  readonly definitions: ReadonlyMap<string, ActorDefinition>;
  /** Takes leases, rehydrates what works, runs due timers and open effects. Resolves when in control. */
  start(): Promise<void>;
  /** Finishes commits in flight, releases leases, closes what it opened. Running effects are aborted and stay open. */
  stop(): Promise<void>;
}

/** The actors in one state. */
export interface StateCount {
  readonly kind: string;
  readonly path: string;
  readonly count: number;
  readonly oldestSince: number;
  readonly medianDwellMs: number;
  /** Those of them that `list({ stuck: true })` finds. */
  readonly stuck: number;
}

/** Over PostgreSQL only. */
export interface PostgresRuntime extends Runtime {
  /** True while this replica owns the actor: what follows an actor outside of its effects (a watch) runs there. */
  owns(to: ActorRef): boolean;
  /**
   * Moves one actor in a transaction of its own, together with the caller's SQL: `within` runs first; when it resolves
   * false everything is rolled back and the actor is untouched. Only the actor's owner may do it; effect handlers are run there.
   */
  transact(
    to: ActorRef,
    event: DomainEvent,
    options: SendOptions & { readonly within: (tx: Transaction) => Promise<boolean> },
  ): Promise<'committed' | 'rolled_back'>;
  /** Count and dwell time per kind and state, for the heat map and the stuck finder. */
  summary(teamId: string | null): Promise<StateCount[]>;
  list(filter: {
    readonly kind?: string;
    /** A state, one that encloses it, or a whole path: `running` finds `running.idle.armed+running.operation.none`. */
    readonly path?: string;
    readonly teamId?: string;
    /** What the context must hold, as PostgreSQL's `@>` has it. */
    readonly context?: Json;
    /** In a work state past its deadline, or with a parked effect. */
    readonly stuck?: boolean;
    readonly cursor?: string;
    readonly limit?: number;
  }): Promise<{ items: ActorView[]; cursor: string | null }>;
}

/** Over a journal on disk only. */
export interface JournalRuntime extends Runtime {
  /** Identity of the journal's folder, known after `start()`. A position of another folder's journal means nothing here. */
  readonly storeId: string;
  /** Position of the last entry: a whole number in decimal, rising by one with each entry. */
  readonly cursor: string;
  /** Syncs of the file since the start, for measurements. */
  readonly syncs: number;
  /** All actors that are remembered, also those that are done. */
  list(kind?: string): Promise<ActorView[]>;
}

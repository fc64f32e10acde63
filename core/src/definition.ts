import type { AnyStateMachine } from 'xstate';

/** Anything that survives JSON. Snapshots, events, effect inputs and answers consist of it. */
export type Json = null | boolean | number | string | Json[] | { [key: string]: Json | undefined };

/** Address of one actor: its kind (`sandbox`) and its id within that kind. */
export interface ActorRef {
  readonly kind: string;
  readonly id: string;
}

/** Who or what caused an event; stored with every journal entry and shown to people. */
export type Cause =
  | { readonly type: 'user'; readonly id: string; readonly name?: string }
  | { readonly type: 'api_key'; readonly id: string; readonly name?: string }
  | { readonly type: 'host'; readonly id: string }
  | { readonly type: 'actor'; readonly kind: string; readonly id: string; readonly seq: number }
  | { readonly type: 'timer'; readonly name: string }
  | { readonly type: 'effect'; readonly name: string; readonly key: string }
  | { readonly type: 'system'; readonly name?: string };

/** An event as its sender writes it: plain data with a type in UPPER_SNAKE_CASE. */
export interface DomainEvent {
  readonly type: string;
  readonly [field: string]: Json | undefined;
}

/**
 * What the runtime adds to an event before a machine sees it (`event.meta`): machines have no clock and no randomness,
 * so time (`at`, milliseconds since 1970 by the store's clock) and identity (`id`, the message id, globally unique) come from here.
 */
export interface EventMeta {
  readonly id: string;
  readonly at: number;
  readonly cause: Cause;
  /** Set on an effect's result: the key of the effect it closes. */
  readonly effectKey?: string;
}

export type Stamped<E extends DomainEvent> = E & { readonly meta: EventMeta };

/** The answer to a command: done with a value, or refused or failed with a reason (I8: exactly one each). */
export type Answer =
  | { readonly ok: true; readonly value: Json }
  | {
      readonly ok: false;
      readonly error: { readonly code: string; readonly message: string; readonly details?: Json };
    };

/**
 * The action types that machines use to cause things. They do nothing inside XState; the runtime turns them into rows of
 * the same commit. Machines declare them with `setup({ actions: durableActions })` and refer to them by name:
 *
 *   entry: [{ type: 'effect', params: { name: 'vm.create' } }]
 *   actions: [{ type: 'send', params: ({ context }) => ({ to: {...}, event: {...} }) }]
 *
 * Delayed transitions are XState's own `after` with named delays: the runtime stores them as timer rows and fences them
 * by the visit of their state.
 */
export interface DurableActionParams {
  /** Opens the effect `name` of the definition; its input is computed from the context after the transition. */
  effect: { readonly name: string };
  /** Puts a message for another actor into the outbox (delivered at least once, deduplicated, in order per pair). */
  send: { readonly to: ActorRef; readonly event: DomainEvent };
  /** Answers the command with this message id. A null id is ignored (nobody asked). */
  answer: { readonly to: string | null; readonly answer: Answer };
  /** Writes a row of the audit trail (AUD1) in the same commit. */
  audit: {
    readonly action: string;
    readonly status: 'success' | 'info' | 'warning' | 'error';
    readonly metadata?: Json;
  };
}

export const durableActions = {
  effect: (_: unknown, _params: DurableActionParams['effect']) => {},
  send: (_: unknown, _params: DurableActionParams['send']) => {},
  answer: (_: unknown, _params: DurableActionParams['answer']) => {},
  audit: (_: unknown, _params: DurableActionParams['audit']) => {},
};

/** A command that users or the API may send. Events that are not commands are reports, timers or results. */
export interface CommandSpec {
  /** Words for a button: `Pause`. */
  readonly title: string;
  /**
   * When the asker hears: `now` = by the runtime in the commit that accepts the command (value: the actor's view);
   * `later` = by an `answer` action of the machine, in whichever commit it happens.
   */
  readonly answer: 'now' | 'later';
  /** True for the command that brings an actor into being; every other one is refused with `not_found` while there is none. */
  readonly creates?: boolean;
  /** Shown for confirmation in the console. */
  readonly destructive?: boolean;
}

/** How often an effect is tried, with which pauses, and when it is given up. Plain data: it is shown in the console. */
export interface RetryPolicy {
  /** Including the first. `null` = for ever. */
  readonly attempts: number | null;
  readonly firstDelayMs: number;
  readonly factor: number;
  readonly maxDelayMs: number;
}

/**
 * Something to be done outside, at least once, after the commit that opened it. It stays open while the state node `while`
 * is active in the same visit; leaving or re-entering that state closes it, and a later result is journalled as late and
 * changes nothing (I4).
 */
export interface EffectDefinition<Context> {
  /** Dotted state path in which a result is expected, e.g. `starting` or `running.operation.forking`. */
  readonly while: string;
  readonly input: (context: Context, meta: EventMeta) => Json;
  /** Event types by which this effect is closed. Such an event must carry the effect's key. */
  readonly results: readonly string[];
  readonly retry: RetryPolicy;
  /**
   * When its handler may start: once the commit that opens it is `durable` (default), or once it is `written`: then a crash
   * of the machine may take the commit back, the actor stands where it was before, with the effect that was open there.
   * For work that such a crash undoes as well, or that may be begun twice. Only the journal on disk makes a difference
   * (it saves a sync, where nobody waits for that commit); PostgreSQL's commits are durable.
   */
  readonly start?: 'durable' | 'written';
  /** The event delivered when the attempts are used up or the handler fails terminally. */
  readonly gaveUp: (error: { readonly code: string; readonly message: string }, input: Json) => DomainEvent;
}

/** An actor as readers see it: committed state only. */
export interface ActorView<Context = Json> {
  readonly kind: string;
  readonly id: string;
  /** XState state value: a string or nested objects. */
  readonly state: Json;
  /** Names of active leaf states joined for people and filters: `running.idle.armed+running.operation.none`. */
  readonly path: string;
  readonly tags: readonly string[];
  readonly context: Context;
  readonly seq: number;
  readonly machineVersion: number;
  readonly createdAt: number;
  /** When the present `state` was entered (ms since 1970). */
  readonly since: number;
  readonly updatedAt: number;
  readonly done: boolean;
}

/** Rows of one read-model table that follow from an actor's committed state, written in the same commit. */
export interface Projection<Context> {
  readonly table: string;
  readonly key: readonly string[];
  /** All columns written, the key's included. Values are JSON that `jsonb_populate_recordset` turns into the table's types. */
  readonly columns: readonly string[];
  /** Rows that must stand after this transition (inserted or updated). */
  readonly upsert?: (view: ActorView<Context>) => readonly Record<string, Json>[];
  /** Keys that must be gone after this transition. */
  readonly remove?: (view: ActorView<Context>) => readonly Record<string, Json>[];
}

/** Everything the runtime knows about one kind of actor. The definition is data; no I/O, clock or randomness in it. */
// biome-ignore lint/suspicious/noExplicitAny: definitions of different contexts stand in one list
export interface ActorDefinition<Context = any> {
  readonly kind: string;
  /** Raised with every incompatible change of the machine; older snapshots pass through `upcasters`. */
  readonly version: number;
  readonly machine: AnyStateMachine;
  /** Maps the creating event to the machine's `input`. */
  readonly input: (event: Stamped<DomainEvent>, ref: ActorRef) => unknown;
  readonly commands: Readonly<Record<string, CommandSpec>>;
  readonly effects: Readonly<Record<string, EffectDefinition<Context>>>;
  readonly projections?: readonly Projection<Context>[];
  /** From version n (key) to n + 1: persisted snapshot in, persisted snapshot out. */
  readonly upcasters?: Readonly<Record<number, (snapshot: Json) => Json>>;
  /** Context as outsiders may see it: secrets removed. Default: as it is. */
  readonly publicContext?: (context: Context) => Json;
  /** Team that may see the actor, or null for platform actors. */
  readonly teamOf?: (context: Context) => string | null;
  /** Why a command is not legal now, and what to do, in sentences for people. Where it is null: "not possible in state X". */
  readonly explain?: (view: ActorView<Context>, command: string) => string | null;
}

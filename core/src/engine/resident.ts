import type { ActorRef } from '../definition.ts';
import type { ActorState, Envelope } from '../step/actor-state.ts';

/** A message in a mailbox. */
export interface Queued {
  readonly envelope: Envelope;
  /** It also lies in the outbox and must be taken from there. */
  stored: boolean;
  /** A firing that was not yet compared with the stored timers or effects: dropped silently when it is out of date. */
  unverified: boolean;
  /** Times it was put back after a lost commit. */
  returns: number;
  /** Called once: it is durable, or it failed. */
  settle?: ((error: unknown) => void) | undefined;
}

/** An actor in memory: its mailbox, and its state while that is known. */
export interface Resident {
  readonly ref: ActorRef;
  readonly key: string;
  state: ActorState | null;
  /** False until the store was asked; null above then means that there is no such actor. */
  known: boolean;
  queue: Queued[];
  /** Ids in `queue` or in the commit that is in flight. */
  readonly ids: Map<string, Queued>;
  /** Work that needs the actor for itself, between two commits. */
  readonly exclusive: (() => Promise<void>)[];
  phase: 'idle' | 'ready' | 'busy';
  /** Messages per commit; 1 while a culprit is looked for. */
  foldLimit: number;
}

export function newResident(ref: ActorRef, key: string): Resident {
  return { ref, key, state: null, known: false, queue: [], ids: new Map(), exclusive: [], phase: 'idle', foldLimit: 0 };
}

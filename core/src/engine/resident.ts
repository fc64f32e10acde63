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

export function queued(envelope: Envelope, more: Partial<Omit<Queued, 'envelope'>> = {}): Queued {
  return { envelope, stored: false, unverified: false, returns: 0, ...more };
}

/** An actor in memory: its mailbox, and its state while that is known. */
export interface Resident {
  readonly ref: ActorRef;
  readonly key: string;
  state: ActorState | null;
  /** False until the store was asked; a null state then means that there is no such actor. */
  known: boolean;
  readonly queue: Queued[];
  /** Ids in `queue` or in the commit that is in flight. */
  readonly ids: Map<string, Queued>;
  /** Work that needs the actor for itself, between two batches. */
  readonly exclusive: (() => Promise<void>)[];
  phase: 'idle' | 'ready' | 'busy';
  /** Messages per commit while a culprit is looked for; null = the usual. */
  foldLimit: number | null;
}

export function newResident(ref: ActorRef, key: string): Resident {
  const mailbox = { queue: [], ids: new Map(), exclusive: [] };
  return { ref, key, state: null, known: false, ...mailbox, phase: 'idle', foldLimit: null };
}

/** Its state in memory is not what is stored, or may not be: it is read again. */
export function forgetState(resident: Resident): void {
  resident.state = null;
  resident.known = false;
}

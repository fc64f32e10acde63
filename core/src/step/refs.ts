import type { ActorRef } from '../definition.ts';

/** One string for an actor: key of maps, part of message ids. A kind has no colon. */
export function refKey(ref: ActorRef): string {
  return `${ref.kind}:${ref.id}`;
}

/** Stable over retries and restarts, globally unique: the other side deduplicates by it. */
export function effectKey(ref: ActorRef, number: number): string {
  return `${ref.kind}:${ref.id}:${number}`;
}

/** The effect's number when the key is one of this actor's, else null. */
export function effectNumber(ref: ActorRef, key: string): number | null {
  const prefix = `${ref.kind}:${ref.id}:`;
  const number = key.startsWith(prefix) ? Number(key.slice(prefix.length)) : Number.NaN;
  return Number.isSafeInteger(number) ? number : null;
}

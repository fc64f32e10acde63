import type { ActorRef, Answer } from '../definition.ts';
import { refKey } from '../step/refs.ts';

interface Waiter {
  resolve(answer: Answer): void;
  reject(reason: unknown): void;
}

/** Whoever awaits the committed answer of a command in this process. Several may await one. */
export class Answers {
  readonly #waiting = new Map<string, { ref: ActorRef; messageId: string; waiters: Set<Waiter> }>();

  wait(ref: ActorRef, messageId: string, signal: AbortSignal | undefined): Promise<Answer> {
    const key = keyOf(ref, messageId);
    return new Promise((resolve, reject) => {
      const entry = this.#waiting.get(key) ?? { ref, messageId, waiters: new Set() };
      this.#waiting.set(key, entry);
      const leave = () => {
        signal?.removeEventListener('abort', abort);
        entry.waiters.delete(waiter);
        if (entry.waiters.size === 0 && this.#waiting.get(key) === entry) this.#waiting.delete(key);
      };
      const abort = () => waiter.reject(signal?.reason);
      const waiter: Waiter = {
        resolve: (answer) => {
          leave();
          resolve(answer);
        },
        reject: (reason) => {
          leave();
          reject(reason);
        },
      };
      entry.waiters.add(waiter);
      signal?.addEventListener('abort', abort, { once: true });
      if (signal?.aborted) abort();
    });
  }

  /** False when nobody here waits for it. */
  resolve(ref: ActorRef, messageId: string, answer: Answer): boolean {
    const entry = this.#waiting.get(keyOf(ref, messageId));
    for (const waiter of [...(entry?.waiters ?? [])]) waiter.resolve(answer);
    return entry !== undefined;
  }

  reject(ref: ActorRef, messageId: string, reason: unknown): void {
    for (const waiter of [...(this.#waiting.get(keyOf(ref, messageId))?.waiters ?? [])]) waiter.reject(reason);
  }

  rejectAll(reason: unknown): void {
    for (const { ref, messageId } of this.awaited()) this.reject(ref, messageId, reason);
  }

  awaited(): { ref: ActorRef; messageId: string }[] {
    return [...this.#waiting.values()];
  }
}

function keyOf(ref: ActorRef, messageId: string): string {
  return `${refKey(ref)} ${messageId}`;
}

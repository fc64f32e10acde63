import type { Front } from './front.ts';

/**
 * Idle time per sandbox (SN7, SN8): what the byte path counts, and the calls of the service. It is kept by sandbox, not
 * by VM, and begins anew when this program restarts.
 */
export class Activity {
  readonly #front: Front;
  /** Streaming calls of the service that are open. */
  readonly #held = new Map<string, number>();

  constructor(front: Front) {
    this.#front = front;
  }

  touch(sandboxId: string): void {
    this.#front.touch(sandboxId);
  }

  /** Milliseconds since the last activity, 0 while anything is open; undefined: the sandbox is not ready here. */
  idleMs(sandboxId: string): number | undefined {
    const counted = this.#front.activity(sandboxId);
    if (counted === undefined) return undefined;
    return this.#held.has(sandboxId) || counted.openStreams > 0 ? 0 : counted.lastActiveMsAgo;
  }

  /** Counts as open until the returned function is called. */
  hold(sandboxId: string): () => void {
    this.touch(sandboxId);
    this.#held.set(sandboxId, (this.#held.get(sandboxId) ?? 0) + 1);
    return () => {
      this.touch(sandboxId);
      const left = (this.#held.get(sandboxId) ?? 1) - 1;
      if (left > 0) this.#held.set(sandboxId, left);
      else this.#held.delete(sandboxId);
    };
  }
}

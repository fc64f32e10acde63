/** How a VM starts. */
export type StartKind = 'boot' | 'restore';

/** A guest that hangs, or whose own hooks take their time, must not hold up the others: its place is given on then. */
const LONGEST_RESTORE_MS = 2_000;

/**
 * Starts take whole cores under emulation, so only so many run at once: more would only take the processor's caches from
 * each other. The others wait in the order in which they came, boots apart from restores, which are so much shorter. A VM
 * holds its place while it is prepared and started.
 */
export class Admission {
  readonly #lines: Readonly<Record<StartKind, Line>>;

  constructor(places: Readonly<Record<StartKind, number>>) {
    this.#lines = { boot: new Line(places.boot), restore: new Line(places.restore, LONGEST_RESTORE_MS) };
  }

  /** Resolves once the VM has a place. Asked again for one that has, it resolves at once. */
  enter(kind: StartKind, vmId: string, signal: AbortSignal): Promise<void> {
    return this.#lines[kind].enter(vmId, signal);
  }

  /** A VM that already boots (after a restart of this program) counts without having asked. */
  readmit(vmId: string): void {
    this.#lines.boot.readmit(vmId);
  }

  /** Gives the place to the next in line. A VM without a place is fine. */
  leave(vmId: string): void {
    for (const line of Object.values(this.#lines)) line.leave(vmId);
  }
}

class Line {
  readonly #places: number;
  readonly #longestMs: number | null;
  /** With what gives the place on at last. */
  readonly #inside = new Map<string, NodeJS.Timeout | undefined>();
  readonly #waiting: { readonly vmId: string; admit(): void }[] = [];

  /** `longestMs`: a place is held for so long at most. */
  constructor(places: number, longestMs: number | null = null) {
    this.#places = places;
    this.#longestMs = longestMs;
  }

  async enter(vmId: string, signal: AbortSignal): Promise<void> {
    signal.throwIfAborted();
    if (this.#inside.has(vmId)) return;
    if (this.#inside.size < this.#places) {
      this.#take(vmId);
      return;
    }
    await new Promise<void>((resolve, reject) => {
      const entry = {
        vmId,
        admit: () => {
          signal.removeEventListener('abort', abort);
          resolve();
        },
      };
      const abort = () => {
        const at = this.#waiting.indexOf(entry);
        if (at >= 0) this.#waiting.splice(at, 1);
        reject(signal.reason);
      };
      signal.addEventListener('abort', abort, { once: true });
      this.#waiting.push(entry);
    });
  }

  readmit(vmId: string): void {
    if (!this.#inside.has(vmId)) this.#take(vmId);
  }

  leave(vmId: string): void {
    if (!this.#inside.has(vmId)) return;
    clearTimeout(this.#inside.get(vmId));
    this.#inside.delete(vmId);
    const next = this.#inside.size < this.#places ? this.#waiting.shift() : undefined;
    if (next === undefined) return;
    this.#take(next.vmId);
    next.admit();
  }

  #take(vmId: string): void {
    const last = this.#longestMs === null ? undefined : setTimeout(() => this.leave(vmId), this.#longestMs).unref();
    this.#inside.set(vmId, last);
  }
}

/**
 * Cold boots take whole cores under emulation, so only so many run at once; the others wait in the order in which they
 * came (design.md §5). A VM holds its place while it is being prepared and booted.
 */
export class Admission {
  readonly #places: number;
  readonly #inside = new Set<string>();
  readonly #waiting: { readonly vmId: string; admit(): void }[] = [];

  constructor(places: number) {
    this.#places = places;
  }

  /** Resolves once the VM has a place. Asked again for one that has, it resolves at once. */
  async enter(vmId: string, signal: AbortSignal): Promise<void> {
    signal.throwIfAborted();
    if (this.#inside.has(vmId)) return;
    if (this.#inside.size < this.#places) {
      this.#inside.add(vmId);
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

  /** A VM that already boots (after a restart of this program) counts without having asked. */
  readmit(vmId: string): void {
    this.#inside.add(vmId);
  }

  /** Gives the place to the next in line. A VM without a place is fine. */
  leave(vmId: string): void {
    if (!this.#inside.delete(vmId)) return;
    const next = this.#inside.size < this.#places ? this.#waiting.shift() : undefined;
    if (next === undefined) return;
    this.#inside.add(next.vmId);
    next.admit();
  }
}

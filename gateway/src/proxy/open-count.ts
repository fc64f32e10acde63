/** Requests and sockets that are open per sandbox, on this replica. */
export class OpenCount {
  readonly #limit: number;
  readonly #open = new Map<string, number>();

  constructor(limit: number) {
    this.#limit = limit;
  }

  get limit(): number {
    return this.#limit;
  }

  /** False: the sandbox has as many as it may. Each true needs one `leave`. */
  enter(sandboxId: string): boolean {
    const open = this.#open.get(sandboxId) ?? 0;
    if (open >= this.#limit) return false;
    this.#open.set(sandboxId, open + 1);
    return true;
  }

  leave(sandboxId: string): void {
    const left = (this.#open.get(sandboxId) ?? 1) - 1;
    if (left > 0) this.#open.set(sandboxId, left);
    else this.#open.delete(sandboxId);
  }
}

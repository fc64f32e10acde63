/**
 * One thing at a time per VM: a step that was aborted may still be running when its undo begins, and the undo must find
 * whatever it made.
 */
export class Serial {
  readonly #last = new Map<string, Promise<unknown>>();

  async run<Result>(vmId: string, work: () => Promise<Result>): Promise<Result> {
    const before = this.#last.get(vmId);
    const mine = before === undefined ? work() : before.then(work, work);
    this.#last.set(vmId, mine);
    try {
      return await mine;
    } finally {
      if (this.#last.get(vmId) === mine) this.#last.delete(vmId);
    }
  }
}

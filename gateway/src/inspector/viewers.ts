/** How many sockets follow the journals on this replica. */
export class Viewers {
  #count = 0;

  get count(): number {
    return this.#count;
  }

  /** Counts as one until `work` has ended. */
  async during(work: () => Promise<void>): Promise<void> {
    this.#count += 1;
    try {
      await work();
    } finally {
      this.#count -= 1;
    }
  }
}

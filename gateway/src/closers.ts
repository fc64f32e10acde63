/** Whatever was opened, closed in the opposite order. (`AsyncDisposableStack` is not in Node 22.) */
export class Closers {
  readonly #closers: (() => unknown)[] = [];

  /** Remembers how to close `opened` and returns it. */
  adopt<T>(opened: T, close: (opened: T) => unknown): T {
    this.#closers.push(() => close(opened));
    return opened;
  }

  defer(close: () => unknown): void {
    this.#closers.push(close);
  }

  /** Closes everything, also when some of it fails; then throws the first failure. */
  async close(): Promise<void> {
    const failures: unknown[] = [];
    for (const close of this.#closers.splice(0).reverse()) {
      try {
        await close();
      } catch (error) {
        failures.push(error);
      }
    }
    if (failures.length > 0) throw failures[0];
  }
}

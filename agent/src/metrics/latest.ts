/** Hands on the latest of many values to one reader: what it does not take in time is replaced, never piled up. */
export class Latest<Value> implements AsyncIterable<Value> {
  readonly #signal: AbortSignal;
  #value: { readonly value: Value } | null = null;
  #ended = false;
  #wake: () => void = () => undefined;

  constructor(signal: AbortSignal) {
    this.#signal = signal;
    signal.addEventListener('abort', () => this.end(), { once: true });
  }

  put(value: Value): void {
    this.#value = { value };
    this.#wake();
  }

  end(): void {
    this.#ended = true;
    this.#wake();
  }

  async *[Symbol.asyncIterator](): AsyncGenerator<Value> {
    while (!this.#ended && !this.#signal.aborted) {
      const next = this.#value;
      this.#value = null;
      if (next) yield next.value;
      else {
        await new Promise<void>((resolve) => {
          this.#wake = resolve;
        });
      }
    }
  }
}

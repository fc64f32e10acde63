import type { HttpResponse } from 'uWebSockets.js';
import type { ByteStream } from './byte-stream.ts';
import { clientGone, payloadTooLarge } from './problems.ts';

/** Bytes waiting for the reader before the socket is paused: a few TCP windows, so that a fast reader never waits. */
const HIGH_WATER_BYTES = 262_144;

/**
 * The body of one request. It must be made in the same tick as the request arrives, since the library drops bytes that
 * nobody listens for. Nothing is read from the socket beyond `HIGH_WATER_BYTES` until the reader takes them.
 */
export class RequestBody {
  readonly #res: HttpResponse;
  #chunks: Buffer[] = [];
  #waiting = 0;
  #received = 0;
  #limit: number | null = null;
  #paused = false;
  #ended = false;
  #closed = false;
  #failure: Error | undefined;
  #wake: (() => void) | undefined;

  constructor(res: HttpResponse) {
    this.#res = res;
    res.onData((chunk, isLast) => this.#take(chunk, isLast));
  }

  /** Everything was received, whether or not it was read. */
  get complete(): boolean {
    return this.#ended;
  }

  /** Bytes so far. */
  get received(): number {
    return this.#received;
  }

  /** The stream; reading fails with 413 beyond `maxBytes`. Once per request. */
  async *read(maxBytes: number | null): ByteStream {
    this.#limit = maxBytes;
    this.#checkLimit();
    for (;;) {
      if (this.#failure) throw this.#failure;
      const chunk = this.#chunks.shift();
      if (chunk) {
        this.#waiting -= chunk.length;
        if (this.#paused && this.#waiting < HIGH_WATER_BYTES) this.#resume();
        yield chunk;
      } else if (this.#ended) {
        return;
      } else {
        await new Promise<void>((resolve) => {
          this.#wake = resolve;
        });
      }
    }
  }

  /** The client is gone: a reader that waits hears of it. */
  abort(): void {
    this.#closed = true;
    if (!this.#ended) this.#fail(clientGone());
  }

  /** Called before the answer: what is still to come is thrown away, and the connection can go on. */
  discard(): void {
    this.#fail(clientGone());
    if (this.#paused && !this.#closed) this.#resume();
  }

  #take(chunk: ArrayBuffer, isLast: boolean): void {
    this.#received += chunk.byteLength;
    this.#ended = isLast;
    if (this.#failure) return;
    if (chunk.byteLength > 0) {
      this.#chunks.push(Buffer.from(chunk.slice(0))); // the library takes its memory back when this returns
      this.#waiting += chunk.byteLength;
    }
    this.#checkLimit();
    if (!isLast && !this.#failure && this.#waiting >= HIGH_WATER_BYTES && !this.#paused) {
      this.#paused = true;
      this.#res.pause();
    }
    this.#wake?.();
  }

  #checkLimit(): void {
    if (this.#limit !== null && this.#received > this.#limit) this.#fail(payloadTooLarge(this.#limit));
  }

  #fail(error: Error): void {
    this.#failure ??= error;
    this.#chunks = [];
    this.#waiting = 0;
    this.#wake?.();
  }

  #resume(): void {
    this.#paused = false;
    if (!this.#closed) this.#res.resume();
  }
}

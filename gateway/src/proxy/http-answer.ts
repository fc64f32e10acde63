import type { HttpResponse } from 'uWebSockets.js';
import { STATUS_CODES } from 'node:http';

/** The library writes these itself. */
const LIBRARY_OWN = new Set(['date', 'connection', 'keep-alive', 'transfer-encoding', 'content-length']);

/**
 * The answer to a client, passed on as it comes from the agent. A client that reads slowly makes it say so, and holds at
 * most one read of ours and what its socket does not take.
 */
export class HttpAnswer {
  readonly #res: HttpResponse;
  readonly #headOnly: boolean;
  #length: number | null = null;
  #rest: Buffer | null = null;
  #restAt = 0;
  #listening = false;
  started = false;
  over = false;
  /** Called when the client takes bytes again. */
  onWritable: () => void = () => undefined;
  /** Called before what may complete the answer: after it the library's object must not be touched. */
  beforeEnd: () => void = () => undefined;

  constructor(res: HttpResponse, headOnly: boolean) {
    this.#res = res;
    this.#headOnly = headOnly;
  }

  cork(work: () => void): void {
    if (this.over) work();
    else this.#res.cork(work);
  }

  head(
    status: number,
    fields: readonly string[],
    length: number | null,
    more: readonly (readonly [string, string])[] = [],
  ): void {
    if (this.over) return;
    this.started = true;
    this.#length = length;
    this.#res.writeStatus(`${status} ${STATUS_CODES[status] ?? 'Unknown'}`);
    for (let at = 0; at < fields.length; at += 2) {
      const name = fields[at] as string;
      if (!LIBRARY_OWN.has(name)) this.#res.writeHeader(name, fields[at + 1] as string);
    }
    for (const [name, value] of more) this.#res.writeHeader(name, value);
  }

  /** False: wait for `onWritable`. */
  write(bytes: Buffer): boolean {
    if (this.over) return true;
    if (this.#length === null) {
      if (this.#res.write(bytes)) return true;
      this.#listen();
      return false;
    }
    return this.#offer(bytes, false);
  }

  end(): void {
    if (this.over || this.#rest !== null) return;
    this.beforeEnd();
    this.over = true;
    if (this.#length === null && !this.#headOnly) this.#res.end();
    else this.#res.endWithoutBody(this.#length ?? undefined);
  }

  /** An answer without a body, which says no length: 204, 304. */
  endBare(): void {
    if (this.over) return;
    this.beforeEnd();
    this.over = true;
    this.#res.endWithoutBody();
  }

  /** A whole answer of our own. */
  send(status: number, fields: readonly (readonly [string, string])[], body: string, close: boolean): void {
    if (this.over) return;
    this.beforeEnd();
    this.started = true;
    this.over = true;
    this.#res.cork(() => {
      this.#res.writeStatus(`${status} ${STATUS_CODES[status] ?? 'Unknown'}`);
      for (const [name, value] of fields) this.#res.writeHeader(name, value);
      if (this.#headOnly) this.#res.endWithoutBody(Buffer.byteLength(body), close);
      else this.#res.end(body, close);
    });
  }

  /** So that a part cannot be taken for the whole. */
  cut(): void {
    if (this.over) return;
    this.over = true;
    this.#res.close();
  }

  /** The client is gone: the response object must not be touched again. */
  aborted(): void {
    this.over = true;
    this.#rest = null;
  }

  #offer(bytes: Buffer, ours: boolean): boolean {
    const at = this.#res.getWriteOffset();
    if (at + bytes.length >= (this.#length as number)) this.beforeEnd();
    const [taken, done] = this.#res.tryEnd(bytes, this.#length as number);
    if (done) this.over = true;
    if (taken || done) {
      this.#rest = null;
      return true;
    }
    this.#rest = ours ? bytes : Buffer.from(bytes); // the reader's buffer is used again
    this.#restAt = at;
    this.#listen();
    return false;
  }

  #listen(): void {
    if (this.#listening) return;
    this.#listening = true;
    this.#res.onWritable((offset) => {
      if (this.over) return true;
      const rest = this.#rest;
      if (rest !== null && !this.#offer(rest.subarray(offset - this.#restAt), true)) return false;
      this.onWritable();
      return true;
    });
  }
}

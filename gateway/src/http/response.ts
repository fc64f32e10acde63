import type { HttpResponse } from 'uWebSockets.js';
import { STATUS_CODES } from 'node:http';
import { clientGone } from './problems.ts';
import type { BytesReply, JsonReply, Reply, StreamReply } from './route.ts';

/** On every answer: the API is called by browsers of other origins with keys in headers, never with cookies. */
export const COMMON_HEADERS: Readonly<Record<string, string>> = {
  'access-control-allow-origin': '*',
  'access-control-expose-headers': 'x-request-id, retry-after',
  'x-content-type-options': 'nosniff',
};

/** A line break in a header's value would start a header of the value's author. */
// biome-ignore lint/suspicious/noControlCharactersInRegex: control characters are what it is about
const CONTROL_CHARACTERS = /[\x00-\x1f\x7f]/g;

/** The writing side of one exchange; every method is safe after the client has gone. */
export class Response {
  readonly #res: HttpResponse;
  readonly #headOnly: boolean;
  readonly #requestId: string;
  #over = false;
  #started = false;
  #wake: ((offset: number) => void) | undefined;
  #onWritable = false;

  constructor(res: HttpResponse, requestId: string, headOnly: boolean) {
    this.#res = res;
    this.#requestId = requestId;
    this.#headOnly = headOnly;
  }

  /** The answer is complete or the client is gone. */
  get over(): boolean {
    return this.#over;
  }

  /** Status and headers are out: an error can no longer be told. */
  get started(): boolean {
    return this.#started;
  }

  abort(): void {
    this.#over = true;
    this.#wake?.(0);
  }

  /** Cuts the connection, so that a half-sent answer cannot be taken for a whole one. */
  destroy(): void {
    if (!this.#over) this.#res.close();
    this.#over = true;
  }

  async send(reply: Reply): Promise<void> {
    if (this.#over) {
      if ('stream' in reply) await reply.stream[Symbol.asyncIterator]().return?.();
      return;
    }
    if ('stream' in reply) await this.#sendStream(reply);
    else this.#sendWhole(reply);
  }

  #sendWhole(reply: JsonReply | BytesReply): void {
    const json = 'bytes' in reply || reply.body === undefined ? undefined : JSON.stringify(reply.body);
    const bytes = 'bytes' in reply ? reply.bytes : (json ?? '');
    const type = json === undefined ? {} : { 'content-type': 'application/json; charset=utf-8' };
    this.#res.cork(() => {
      this.#head(reply, type);
      if (this.#headOnly) this.#res.endWithoutBody(Buffer.byteLength(bytes));
      else if (bytes.length === 0 && reply.status === 204) this.#res.endWithoutBody();
      else this.#res.end(bytes);
    });
    this.#over = true;
  }

  async #sendStream(reply: StreamReply): Promise<void> {
    const { stream, length } = reply;
    if (this.#headOnly || length === 0) {
      await stream[Symbol.asyncIterator]().return?.();
      if (this.#over) return;
      this.#res.cork(() => {
        this.#head(reply, {});
        this.#res.endWithoutBody(length ?? 0);
      });
      this.#over = true;
      return;
    }
    this.#listen();
    for await (const chunk of stream) {
      if (this.#over) throw clientGone(); // leaving the loop closes the source
      if (chunk.length === 0) continue;
      if (!this.#started) this.#res.cork(() => this.#head(reply, {}));
      if (length === undefined) await this.#writeChunk(chunk);
      else await this.#writePart(chunk, length);
    }
    if (this.#over) return;
    this.#res.cork(() => {
      if (!this.#started) this.#head(reply, {});
      if (length === undefined) this.#res.end();
      else this.#res.close(); // the source ended short of its length
    });
    this.#over = true;
  }

  /** Chunked coding: the library keeps what the socket does not take, so wait until it has. */
  async #writeChunk(chunk: Uint8Array): Promise<void> {
    let taken = true;
    this.#res.cork(() => {
      taken = this.#res.write(chunk);
    });
    if (!taken) await this.#writable();
  }

  /** Known length: the library takes as much as the socket does, the rest is offered again. */
  async #writePart(chunk: Uint8Array, total: number): Promise<void> {
    let rest = chunk;
    while (!this.#over) {
      const start = this.#res.getWriteOffset();
      let result: [boolean, boolean] = [true, false];
      this.#res.cork(() => {
        result = this.#res.tryEnd(rest, total);
      });
      const [ok, done] = result;
      if (done) this.#over = true;
      if (ok || done) return;
      const offset = await this.#writable();
      if (this.#over) return;
      rest = rest.subarray(offset - start);
    }
  }

  #writable(): Promise<number> {
    return new Promise((resolve) => {
      this.#wake = (offset) => {
        this.#wake = undefined;
        resolve(offset);
      };
    });
  }

  #listen(): void {
    if (this.#onWritable) return;
    this.#onWritable = true;
    this.#res.onWritable((offset) => {
      this.#wake?.(offset);
      return true;
    });
  }

  #head(reply: Reply, defaults: Readonly<Record<string, string>>): void {
    this.#started = true;
    this.#res.writeStatus(`${reply.status} ${STATUS_CODES[reply.status] ?? ''}`.trimEnd());
    this.#res.writeHeader('x-request-id', this.#requestId);
    for (const [name, value] of Object.entries({ ...COMMON_HEADERS, ...defaults, ...reply.headers })) {
      this.#res.writeHeader(name, value.replace(CONTROL_CHARACTERS, ''));
    }
  }
}

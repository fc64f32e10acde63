/** Where a parsed answer goes. */
export interface ResponseSink {
  /**
   * Name, value, name, value…; names in lower case. `length` is that of the body: null where it comes in chunks.
   * A 101 has no body: what follows is not HTTP.
   */
  onHead(status: number, fields: readonly string[], length: number | null): void;
  /** Valid only during the call. */
  onBody(bytes: Buffer): void;
  onEnd(): void;
}

/** As much as hyper writes for a guest's head; more is a fault. */
const MAX_HEAD_BYTES = 131_072;
/** A chunk's size in hexadecimal digits, with extensions. */
const MAX_LINE_BYTES = 256;

const State = { head: 0, fixed: 1, chunkSize: 2, chunk: 3, chunkEnd: 4, trailers: 5, over: 6 } as const;
type State = (typeof State)[keyof typeof State];

const CR = 13;
const LF = 10;

/**
 * Incremental parser of the answers of an agent's front, which has read and written anew whatever a guest sent: heads are
 * well-formed, bodies have a length or chunks. What is not so is an error, never a guess. Trailers are dropped.
 */
export class ResponseParser {
  #state: State = State.head;
  #held: Buffer | null = null;
  #left = 0;
  #sink: ResponseSink | null = null;
  #headOnly = false;
  /** The connection may serve another request after this answer. */
  keepAlive = true;

  /** An answer to come. `headOnly`: it is that of a HEAD. */
  begin(sink: ResponseSink, headOnly: boolean): void {
    this.#sink = sink;
    this.#headOnly = headOnly;
    this.#state = State.head;
    this.#held = null;
    this.keepAlive = true;
  }

  /** Something of the answer was received. */
  get started(): boolean {
    return this.#state !== State.head || this.#held !== null;
  }

  /** @returns bytes behind the end of the answer. Throws where it is none. */
  push(bytes: Buffer): Buffer | null {
    let at = 0;
    while (at < bytes.length && this.#state !== State.over) {
      switch (this.#state) {
        case State.head:
          at = this.#head(bytes, at);
          break;
        case State.fixed:
        case State.chunk:
          at = this.#data(bytes, at);
          break;
        case State.chunkSize:
          at = this.#line(bytes, at, (line) => this.#size(line));
          break;
        case State.chunkEnd:
          at = this.#line(bytes, at, (line) => {
            if (line !== '') throw new Error('a chunk is longer than it says');
            this.#state = State.chunkSize;
          });
          break;
        case State.trailers:
          at = this.#line(bytes, at, (line) => {
            if (line === '') this.#finish();
          });
          break;
      }
    }
    return at < bytes.length ? bytes.subarray(at) : null;
  }

  #head(bytes: Buffer, at: number): number {
    const all = this.#held === null ? bytes.subarray(at) : Buffer.concat([this.#held, bytes.subarray(at)]);
    const end = all.indexOf('\r\n\r\n');
    if (end < 0) {
      if (all.length > MAX_HEAD_BYTES) throw new Error('the head is too long');
      this.#held = Buffer.from(all);
      return bytes.length;
    }
    const consumed = end + 4 - (this.#held?.length ?? 0);
    this.#held = null;
    this.#parseHead(all.toString('latin1', 0, end));
    return at + consumed;
  }

  #parseHead(text: string): void {
    const lineEnd = text.indexOf('\r\n');
    const first = lineEnd < 0 ? text : text.slice(0, lineEnd);
    const status = Number(first.slice(9, 12));
    if (!first.startsWith('HTTP/1.1 ') || !(status >= 100 && status <= 999)) throw new Error('no HTTP/1.1 answer');
    const fields: string[] = [];
    let length: number | null = null;
    let chunked = false;
    let at = lineEnd;
    while (at >= 0) {
      const start = at + 2;
      at = text.indexOf('\r\n', start);
      const colon = text.indexOf(':', start);
      if (colon < 0) throw new Error('a field without a name');
      const name = text.slice(start, colon).toLowerCase();
      const value = text.slice(colon + 1, at < 0 ? undefined : at).trim();
      if (name === 'content-length') length = Number(value);
      else if (name === 'transfer-encoding') chunked = true;
      else if (name === 'connection') this.keepAlive &&= value.toLowerCase() !== 'close';
      else fields.push(name, value);
    }
    if (length !== null && !Number.isSafeInteger(length)) throw new Error('no length');
    this.#begin(status, fields, length, chunked);
  }

  #begin(status: number, fields: string[], length: number | null, chunked: boolean): void {
    const sink = this.#sink as ResponseSink;
    if (status >= 100 && status < 200 && status !== 101) return; // an interim answer: the real one follows
    const none = this.#headOnly || status === 204 || status === 304 || status === 101;
    const framed = chunked || length !== null;
    sink.onHead(status, fields, chunked ? null : (length ?? (none ? null : 0)));
    if (none || (!chunked && (length ?? 0) === 0)) {
      if (!none && !framed) this.keepAlive = false;
      this.#finish();
    } else if (chunked) {
      this.#state = State.chunkSize;
    } else {
      this.#state = State.fixed;
      this.#left = length as number;
    }
  }

  #data(bytes: Buffer, at: number): number {
    const end = Math.min(bytes.length, at + this.#left);
    this.#left -= end - at;
    const chunked = this.#state === State.chunk;
    this.#sink?.onBody(at === 0 && end === bytes.length ? bytes : bytes.subarray(at, end));
    if (this.#left === 0) {
      if (chunked) this.#state = State.chunkEnd;
      else this.#finish();
    }
    return end;
  }

  #line(bytes: Buffer, at: number, take: (line: string) => void): number {
    const end = bytes.indexOf(LF, at);
    if (end < 0) {
      this.#held = Buffer.concat([this.#held ?? Buffer.alloc(0), bytes.subarray(at)]);
      if (this.#held.length > MAX_LINE_BYTES) throw new Error('a line is too long');
      return bytes.length;
    }
    let line = bytes.subarray(at, end);
    if (this.#held !== null) line = Buffer.concat([this.#held, line]);
    this.#held = null;
    if (line[line.length - 1] !== CR) throw new Error('a line ends without a carriage return');
    take(line.toString('latin1', 0, line.length - 1));
    return end + 1;
  }

  #size(line: string): void {
    const digits = /^([0-9a-fA-F]{1,12})(?:[ \t;]|$)/.exec(line)?.[1];
    if (digits === undefined) throw new Error('a chunk without a size');
    this.#left = Number.parseInt(digits, 16);
    this.#state = this.#left === 0 ? State.trailers : State.chunk;
  }

  #finish(): void {
    this.#state = State.over;
    this.#sink?.onEnd();
  }
}

import type { WebSocket } from 'uWebSockets.js';
import { WrennError } from '@wrenn/core';
import type { Socket, SocketMessage } from './socket.ts';

/** Unsent bytes above which `send` waits for the peer. */
export const HIGH_WATER_BYTES = 262_144;
/** Unread bytes above which a peer is sent away: uWS cannot pause a WebSocket, so they would pile up here. */
export const MAX_UNREAD_BYTES = 8_388_608;

/** Close codes of RFC 6455 that we send. */
const GOING_AWAY = 1001;
const INTERNAL_ERROR = 1011;
const TRY_AGAIN_LATER = 1013;
/** A close reason has at most 123 bytes. */
const MAX_REASON_BYTES = 123;

/** State of one open WebSocket, between the library's callbacks and a handler's reads and writes. */
export class WebSocketSession implements Socket {
  readonly #ws: WebSocket<unknown>;
  readonly #abort = new AbortController();
  #inbox: SocketMessage[] = [];
  #unread = 0;
  #closed = false;
  #wakeReader: (() => void) | undefined;
  #wakeWriters: (() => void)[] = [];

  constructor(ws: WebSocket<unknown>) {
    this.#ws = ws;
  }

  get signal(): AbortSignal {
    return this.#abort.signal;
  }

  get messages(): AsyncIterable<SocketMessage> {
    return { [Symbol.asyncIterator]: () => this.#read() };
  }

  async send(data: string | Uint8Array): Promise<void> {
    if (this.#closed) throw closedError();
    const DROPPED = 2;
    if (this.#ws.send(data, typeof data !== 'string') === DROPPED) throw closedError();
    while (!this.#closed && this.#ws.getBufferedAmount() > HIGH_WATER_BYTES) {
      await new Promise<void>((resolve) => this.#wakeWriters.push(resolve));
    }
    if (this.#closed) throw closedError();
  }

  sendJson(value: unknown): Promise<void> {
    return this.send(JSON.stringify(value));
  }

  close(code = 1000, reason = ''): void {
    if (!this.#closed) this.#ws.end(code, shorten(reason));
  }

  /** Closes with the reason of a failed handler. */
  fail(error: unknown): void {
    const text = error instanceof WrennError ? `${error.code}: ${error.message}` : 'internal';
    this.close(INTERNAL_ERROR, text);
  }

  goAway(): void {
    this.close(GOING_AWAY, 'the server is stopping');
  }

  // Called by the library.

  received(message: ArrayBuffer, isBinary: boolean): void {
    const bytes = Buffer.from(message.slice(0));
    this.#unread += bytes.length;
    if (this.#unread > MAX_UNREAD_BYTES) {
      this.close(TRY_AGAIN_LATER, 'sent faster than it can be taken');
      return;
    }
    this.#inbox.push(isBinary ? { type: 'binary', bytes } : { type: 'text', text: bytes.toString('utf8') });
    this.#wakeReader?.();
  }

  drained(): void {
    for (const wake of this.#wakeWriters.splice(0)) wake();
  }

  ended(): void {
    this.#closed = true;
    this.#abort.abort(new DOMException('The WebSocket is closed.', 'AbortError'));
    this.#wakeReader?.();
    this.drained();
  }

  async *#read(): AsyncGenerator<SocketMessage> {
    for (;;) {
      const message = this.#inbox.shift();
      if (message) {
        this.#unread -= message.type === 'text' ? Buffer.byteLength(message.text) : message.bytes.length;
        yield message;
      } else if (this.#closed) {
        return;
      } else {
        await new Promise<void>((resolve) => {
          this.#wakeReader = resolve;
        });
      }
    }
  }
}

function closedError(): WrennError {
  return new WrennError('canceled', 'The WebSocket is closed.');
}

function shorten(text: string): string {
  let short = text;
  while (Buffer.byteLength(short) > MAX_REASON_BYTES) short = short.slice(0, -1);
  return short;
}

import type { HttpResponse } from 'uWebSockets.js';
import type { AgentSocket } from './agent-socket.ts';

/** Bytes that wait for the agent above which the client is not read. */
const HIGH_WATER_BYTES = 262_144;
const LAST_CHUNK = '0\r\n\r\n';

/**
 * The body of a proxied request on its way to the agent. It listens from the tick in which the request arrives; what
 * comes before there is a connection waits here, little of it, and the client is not read meanwhile.
 */
export class BodyPipe {
  readonly #res: HttpResponse;
  readonly #chunked: boolean;
  #waiting: Buffer[] = [];
  #waitingBytes = 0;
  #complete = false;
  #paused = false;
  #over = false;
  #socket: AgentSocket | null = null;
  /** Something was handed to an agent: it cannot be sent once more. */
  handedOn = false;

  constructor(res: HttpResponse, chunked: boolean) {
    this.#res = res;
    this.#chunked = chunked;
    res.onData((chunk, isLast) => this.#take(chunk, isLast));
  }

  /** From now on bytes go to this connection; those that waited at once. */
  attach(socket: AgentSocket): void {
    this.#socket = socket;
    const waiting = this.#waiting;
    this.#waiting = [];
    this.#waitingBytes = 0;
    let taken = true;
    for (const chunk of waiting) taken = this.#send(chunk);
    if (this.#complete) this.#end();
    else if (taken) this.writable();
  }

  /** The connection takes bytes again. */
  writable(): void {
    if (!this.#paused || this.#over) return;
    this.#paused = false;
    this.#res.resume();
  }

  /** The answer is out: what still comes is thrown away, so that the client can end its request. */
  discard(): void {
    this.#waiting = [];
    this.#waitingBytes = 0;
    this.#socket = null;
    this.writable();
    this.#over = true;
  }

  /** The client is gone; its response object must not be touched again. */
  abort(): void {
    this.#over = true;
    this.#socket = null;
    this.#waiting = [];
  }

  #take(chunk: ArrayBuffer, isLast: boolean): void {
    if (this.#over) return;
    this.#complete = isLast;
    const taken = chunk.byteLength === 0 || this.#pass(chunk);
    if (isLast) {
      if (this.#socket) this.#end();
    } else if (!taken && !this.#paused) {
      this.#paused = true;
      this.#res.pause();
    }
  }

  /** The library takes its memory back when this returns. */
  #pass(chunk: ArrayBuffer): boolean {
    const copy = Buffer.from(chunk.slice(0));
    if (this.#socket) return this.#send(copy);
    this.#waiting.push(copy);
    this.#waitingBytes += copy.length;
    return this.#waitingBytes < HIGH_WATER_BYTES;
  }

  #send(chunk: Buffer): boolean {
    const socket = this.#socket as AgentSocket;
    this.handedOn = true;
    if (!this.#chunked) return socket.write(chunk);
    socket.write(`${chunk.length.toString(16)}\r\n`);
    socket.write(chunk);
    return socket.write('\r\n');
  }

  #end(): void {
    if (this.#chunked) this.#socket?.write(LAST_CHUNK);
    this.#socket?.endBody();
  }
}

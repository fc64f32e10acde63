import type { WebSocket as ClientSocket } from 'uWebSockets.js';
import type WebSocket from 'ws';

/** Of one message, either way: it is held whole. Longer ones close with 1009. */
export const MAX_MESSAGE_BYTES = 33_554_432;
/** Unsent bytes above which the guest is not read. */
const HIGH_WATER_BYTES = 262_144;
/** Above `HIGH_WATER_BYTES` nothing more is read, so one message comes on top of it at most. */
export const MAX_BACKPRESSURE_BYTES = 2 * MAX_MESSAGE_BYTES;
/** Bytes that a guest has not taken, above which its client is sent away: the library cannot stop reading a WebSocket. */
export const MAX_UNTAKEN_BYTES = MAX_MESSAGE_BYTES;
/** A reason of a close frame. */
const MAX_REASON_BYTES = 123;

const GOING_AWAY = 1001;
const NO_STATUS = 1005;
const ABNORMAL = 1006;
const TRY_AGAIN_LATER = 1013;

/** One WebSocket of a client and one of a guest, joined: messages, pings, pongs and the close go through as they are. */
export class SocketRelay {
  readonly #guest: WebSocket;
  #client: ClientSocket<unknown> | null = null;
  #over = false;
  #leave: (() => void) | null;

  /** `guest`: open and paused. `leave`: called once, when both are over. */
  constructor(guest: WebSocket, leave: () => void) {
    this.#guest = guest;
    this.#leave = leave;
    guest.on('message', (data: Buffer, isBinary: boolean) => this.#fromGuest(data, isBinary));
    guest.on('ping', (data: Buffer) => this.#client?.ping(data));
    // A guest's pong answers a client's ping, which the library has answered already.
    guest.on('close', (code: number, reason: Buffer) => this.#guestClosed(code, reason));
  }

  opened(client: ClientSocket<unknown>): void {
    if (this.#over) {
      client.close(); // the guest has gone meanwhile
      return;
    }
    this.#client = client;
    this.#guest.resume();
  }

  /** The library takes the memory back when this returns. */
  fromClient(message: ArrayBuffer, isBinary: boolean): void {
    if (this.#over) return;
    this.#guest.send(Buffer.from(message.slice(0)), { binary: isBinary, compress: false });
    if (this.#guest.bufferedAmount > MAX_UNTAKEN_BYTES) {
      const reason = 'sent faster than the sandbox takes it';
      this.#guest.terminate();
      this.#closeClient(TRY_AGAIN_LATER, reason);
    }
  }

  pingFromClient(message: ArrayBuffer): void {
    if (!this.#over) this.#guest.ping(Buffer.from(message.slice(0)));
  }

  pongFromClient(message: ArrayBuffer): void {
    if (!this.#over) this.#guest.pong(Buffer.from(message.slice(0)));
  }

  /** The client takes bytes again. */
  drained(): void {
    const client = this.#client;
    if (client && !this.#over && client.getBufferedAmount() <= HIGH_WATER_BYTES) this.#guest.resume();
  }

  clientClosed(code: number, reason: Buffer): void {
    this.#client = null;
    if (this.#over) return;
    this.#end();
    this.#guest.resume(); // a paused socket does not see the guest's own close
    if (code === ABNORMAL) this.#guest.terminate();
    else if (code === NO_STATUS || code === 0) this.#guest.close();
    else closeGuest(this.#guest, code, reason);
  }

  goAway(): void {
    if (this.#over) return;
    this.#guest.close(GOING_AWAY);
    this.#closeClient(GOING_AWAY, 'the server is stopping');
  }

  #fromGuest(data: Buffer, isBinary: boolean): void {
    const client = this.#client;
    if (!client) return;
    const DROPPED = 2;
    if (client.send(data, isBinary, false) === DROPPED) {
      this.#guest.terminate();
      this.#closeClient(TRY_AGAIN_LATER, 'the client does not keep up');
    } else if (client.getBufferedAmount() > HIGH_WATER_BYTES) {
      this.#guest.pause();
    }
  }

  #guestClosed(code: number, reason: Buffer): void {
    if (this.#over) return;
    if (code === ABNORMAL) {
      const client = this.#client;
      this.#end();
      client?.close();
    } else {
      this.#closeClient(code === NO_STATUS ? 0 : code, reason.subarray(0, MAX_REASON_BYTES).toString('utf8'));
    }
  }

  /** `code` 0: a close without a status. */
  #closeClient(code: number, reason: string): void {
    const client = this.#client;
    this.#end();
    client?.end(code, reason);
  }

  #end(): void {
    this.#over = true;
    this.#leave?.();
    this.#leave = null;
  }
}

/** Codes that may not be sent (RFC 6455, 7.4) end the connection instead. */
function closeGuest(guest: WebSocket, code: number, reason: Buffer): void {
  try {
    guest.close(code, reason);
  } catch {
    guest.terminate();
  }
}

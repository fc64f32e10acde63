import { Socket, type SocketConstructorOpts } from 'node:net';
import { ResponseParser, type ResponseSink } from './response-parser.ts';

/** Read at once from a socket. One buffer serves all sockets: what was read is passed on before the next read. */
const READ_BYTES = 131_072;
const READ_BUFFER = Buffer.allocUnsafeSlow(READ_BYTES);
/** Unsent bytes above which whoever sends waits. */
const HIGH_WATER_BYTES = 262_144;
/** An agent is one hop away; what has not answered by then does not. */
const CONNECT_TIMEOUT_MS = 5_000;

// biome-ignore lint/suspicious/noControlCharactersInRegex: all of ASCII
const NOT_ASCII = /[^\x00-\x7f]/;

export type SocketFailure =
  /** Nothing of the request can have reached the agent. */
  | 'connect'
  /** It was used before and closed without a word: the request may be repeated where it is harmless. */
  | 'stale'
  /** The answer broke off, or never came. */
  | 'broken';

/** One exchange, as its owner sees it. */
export interface AgentExchange extends ResponseSink {
  /** Runs `work` so that all it writes goes out at once. */
  cork(work: () => void): void;
  /** The last call, instead of `onEnd`. */
  onFailure(failure: SocketFailure): void;
  /** The agent takes bytes of the body again. */
  onWritable(): void;
}

export interface SocketOwner {
  /** The answer is whole and the connection can take another request. */
  free(socket: AgentSocket): void;
  gone(socket: AgentSocket): void;
}

/** One keep-alive connection to an agent's front; one exchange at a time. */
export class AgentSocket {
  readonly #owner: SocketOwner;
  readonly #socket: Socket;
  readonly #parser = new ResponseParser();
  #exchange: AgentExchange | null = null;
  #connected = false;
  #used = false;
  #requestSent = true;
  #paused = false;
  #closed = false;
  /** When it was last given back, as `performance.now()`. */
  idleSince = 0;

  constructor(host: string, port: number, owner: SocketOwner) {
    this.#owner = owner;
    // Both options are documented for `net.connect`, which hands them to this constructor.
    const options = {
      writableHighWaterMark: HIGH_WATER_BYTES,
      onread: { buffer: READ_BUFFER, callback: (count: number) => this.#read(READ_BUFFER.subarray(0, count)) },
    };
    const socket = new Socket(options as SocketConstructorOpts);
    socket.setNoDelay(true);
    socket.setTimeout(CONNECT_TIMEOUT_MS, () => socket.destroy());
    socket.on('connect', () => {
      this.#connected = true;
      socket.setTimeout(0);
    });
    socket.on('drain', () => this.#exchange?.onWritable());
    socket.on('error', () => undefined); // followed by `close`
    socket.on('end', () => socket.destroy());
    socket.on('close', () => this.#ended());
    socket.connect(port, host);
    this.#socket = socket;
  }

  /** Sends a head. `hasBody`: bytes follow by `write` and `endBody`. */
  start(exchange: AgentExchange, head: string, headOnly: boolean, hasBody: boolean): void {
    this.#exchange = exchange;
    this.#requestSent = !hasBody;
    this.#parser.begin(this.#sink(exchange), headOnly);
    // Most heads are ASCII, and copied faster as such.
    this.#socket.write(head, NOT_ASCII.test(head) ? 'utf8' : 'latin1');
  }

  /** False: wait for `onWritable`. */
  write(bytes: Uint8Array | string): boolean {
    return this.#closed ? true : this.#socket.write(bytes);
  }

  endBody(): void {
    this.#requestSent = true;
  }

  pause(): void {
    this.#paused = true;
  }

  resume(): void {
    this.#paused = false;
    if (!this.#closed) this.#socket.resume();
  }

  /** The exchange is over as far as its owner is concerned; an answer under way is cut. */
  destroy(): void {
    this.#exchange = null;
    this.#socket.destroy();
  }

  #sink(exchange: AgentExchange): ResponseSink {
    return {
      onHead: (status, fields, length) => exchange.onHead(status, fields, length),
      onBody: (bytes) => {
        // An owner that left meanwhile is told nothing more.
        if (this.#exchange === exchange) exchange.onBody(bytes);
      },
      onEnd: () => {
        if (this.#exchange === exchange) this.#over(exchange);
      },
    };
  }

  /** @returns false to stop reading until `resume`. */
  #read(bytes: Buffer): boolean {
    const exchange = this.#exchange;
    if (exchange === null) {
      this.#socket.destroy(); // nobody asked
      return false;
    }
    try {
      let behind: Buffer | null = null;
      exchange.cork(() => {
        behind = this.#parser.push(bytes);
      });
      if (behind !== null) this.#socket.destroy();
    } catch {
      this.#socket.destroy();
    }
    return !this.#paused;
  }

  #over(exchange: AgentExchange): void {
    this.#exchange = null;
    this.#used = true;
    // An answer that came before the request was whole: the rest would be taken for a request of its own.
    const reusable = this.#parser.keepAlive && this.#requestSent && !this.#closed;
    if (this.#paused) this.resume();
    if (reusable) this.#owner.free(this);
    else this.#socket.destroy();
    exchange.onEnd();
  }

  #ended(): void {
    this.#closed = true;
    const exchange = this.#exchange;
    this.#exchange = null;
    this.#owner.gone(this);
    if (exchange === null) return;
    const stale = this.#used && !this.#parser.started;
    exchange.onFailure(this.#connected ? (stale ? 'stale' : 'broken') : 'connect');
  }
}

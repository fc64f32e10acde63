import { createConnection, type Socket } from 'node:net';
import { createInterface } from 'node:readline';
import { AgentError } from '../errors.ts';

/** QEMU said no. `kind` is QEMU's error class (`GenericError`, `CommandNotFound`, …). */
export class QmpError extends Error {
  readonly kind: string;

  constructor(command: string, kind: string, description: string) {
    super(`${command}: ${description}`);
    this.name = 'QmpError';
    this.kind = kind;
  }
}

/** The control socket closed, or never opened: the VMM has ended, or is about to. */
export class QmpClosed extends AgentError {
  constructor(message: string, options?: ErrorOptions) {
    super('vmm_failed', message, options);
    this.name = 'QmpClosed';
  }
}

/** An asynchronous event, such as `STOP`, `RESUME`, `SHUTDOWN`. */
export interface QmpEvent {
  readonly event: string;
  readonly data?: Readonly<Record<string, unknown>>;
  readonly timestamp: { readonly seconds: number; readonly microseconds: number };
}

/** The commands that the driver uses, with what they take and return. */
export interface QmpCommands {
  stop: { arguments: undefined; returns: unknown };
  cont: { arguments: undefined; returns: unknown };
  /**
   * Devices without memory. Works without Xen; `live` would let go of the disks of a VM that stands, and `cont` would open
   * each of their layers again.
   */
  'xen-save-devices-state': { arguments: { filename: string; live: boolean }; returns: unknown };
  'migrate-set-parameters': { arguments: { 'announce-rounds': number }; returns: unknown };
  'migrate-incoming': { arguments: { uri: string }; returns: unknown };
  'query-migrate': { arguments: undefined; returns: { status?: string; 'error-desc'?: string } };
  'blockdev-add': { arguments: Readonly<Record<string, unknown>>; returns: unknown };
  'blockdev-del': { arguments: { 'node-name': string }; returns: unknown };
  'query-named-block-nodes': { arguments: { flat: true }; returns: { 'node-name'?: string }[] };
  'blockdev-snapshot': { arguments: { node: string; overlay: string }; returns: unknown };
  'query-block': { arguments: undefined; returns: { inserted?: { 'node-name'?: string } }[] };
  'query-status': { arguments: undefined; returns: { status: string; running: boolean } };
  quit: { arguments: undefined; returns: unknown };
}

interface Reply {
  readonly id?: number;
  readonly return?: unknown;
  readonly error?: { readonly class: string; readonly desc: string };
  readonly event?: string;
  readonly QMP?: { readonly capabilities: readonly string[] };
}

interface Waiting {
  readonly command: string;
  resolve(value: unknown): void;
  reject(error: Error): void;
}

/**
 * A client of QEMU's control socket (JSON lines, https://www.qemu.org/docs/master/interop/qmp-spec.html).
 * QEMU serves one client at a time: open it, ask, close it.
 */
export class QmpClient {
  readonly #socket: Socket;
  readonly #waiting = new Map<number, Waiting>();
  readonly #listeners = new Set<(event: QmpEvent | null) => void>();
  /** What it offers. */
  readonly #greeting = Promise.withResolvers<readonly string[]>();
  #lastId = 0;
  #closed = false;

  private constructor(socket: Socket) {
    this.#socket = socket;
    const lines = createInterface({ input: socket });
    lines.on('line', (line) => this.#receive(line)).on('error', () => {}); // it repeats the socket's
    socket.on('error', (error) => this.#end(error)).on('close', () => this.#end());
    this.#greeting.promise.catch(() => {});
  }

  /**
   * Connects and negotiates. Fails at once when nobody listens at `path`. Commands are answered in their order; with `oob`
   * QEMU takes in the next ones (byte by byte, some 3 us each) while it is busy with one, not after it.
   */
  static async connect(path: string, signal: AbortSignal): Promise<QmpClient> {
    signal.throwIfAborted();
    const client = new QmpClient(createConnection({ path }));
    const abort = () => client.#end(signal.reason);
    signal.addEventListener('abort', abort, { once: true });
    try {
      const offered = await client.#greeting.promise;
      await client.#send('qmp_capabilities', { enable: offered.filter((name) => name === 'oob') }, signal);
      return client;
    } catch (error) {
      client.close();
      throw error;
    } finally {
      signal.removeEventListener('abort', abort);
    }
  }

  execute<Name extends keyof QmpCommands>(
    command: Name,
    args: QmpCommands[Name]['arguments'],
    signal: AbortSignal,
  ): Promise<QmpCommands[Name]['returns']> {
    return this.#send(command, args, signal);
  }

  /** Events from now on, until the socket closes or the signal aborts. */
  async *events(signal: AbortSignal): AsyncGenerator<QmpEvent> {
    const queue: (QmpEvent | null)[] = [];
    let wake = Promise.withResolvers<void>();
    const listener = (event: QmpEvent | null) => {
      queue.push(event);
      wake.resolve();
    };
    const abort = () => listener(null);
    if (this.#closed || signal.aborted) return;
    this.#listeners.add(listener);
    signal.addEventListener('abort', abort, { once: true });
    try {
      while (true) {
        await wake.promise;
        wake = Promise.withResolvers<void>();
        for (const event of queue.splice(0)) {
          if (event === null) return;
          yield event;
        }
      }
    } finally {
      this.#listeners.delete(listener);
      signal.removeEventListener('abort', abort);
    }
  }

  close(): void {
    this.#end();
  }

  async #send<Result>(command: string, args: unknown, signal: AbortSignal): Promise<Result> {
    signal.throwIfAborted();
    if (this.#closed) throw new QmpClosed(`${command}: the control socket is closed`);
    const id = ++this.#lastId;
    const answer = Promise.withResolvers<unknown>();
    const abort = () => answer.reject(signal.reason);
    signal.addEventListener('abort', abort, { once: true });
    this.#waiting.set(id, { command, resolve: answer.resolve, reject: answer.reject });
    this.#socket.write(`${JSON.stringify({ execute: command, arguments: args, id })}\n`);
    try {
      return (await answer.promise) as Result;
    } finally {
      this.#waiting.delete(id);
      signal.removeEventListener('abort', abort);
    }
  }

  #receive(line: string): void {
    let message: Reply;
    try {
      message = JSON.parse(line);
    } catch (cause) {
      this.#end(new QmpClosed('the control socket sent something that is not JSON', { cause }));
      return;
    }
    if (message.QMP !== undefined) {
      this.#greeting.resolve(message.QMP.capabilities);
      return;
    }
    if (message.event !== undefined) {
      for (const listener of this.#listeners) listener(message as unknown as QmpEvent);
      return;
    }
    const waiting = message.id === undefined ? undefined : this.#waiting.get(message.id);
    if (waiting === undefined) return; // its caller has given up
    if (message.error) waiting.reject(new QmpError(waiting.command, message.error.class, message.error.desc));
    else waiting.resolve(message.return);
  }

  #end(cause?: unknown): void {
    if (this.#closed) return;
    this.#closed = true;
    const error = new QmpClosed('the control socket closed', { cause });
    this.#socket.destroy();
    this.#greeting.reject(error);
    for (const waiting of this.#waiting.values()) waiting.reject(error);
    for (const listener of this.#listeners) listener(null);
  }
}

import { type AgentExchange, AgentSocket, type SocketOwner } from './agent-socket.ts';

/** Connections kept for the next requests. */
const MAX_IDLE = 256;
/** The front never closes an idle connection by itself; ours are given up after this time. */
const IDLE_LIFE_MS = 60_000;

/** Raw keep-alive connections to one agent, the one used last first. Nothing here has a total time limit. */
export class AgentPool implements SocketOwner {
  readonly #host: string;
  readonly #port: number;
  readonly #all = new Set<AgentSocket>();
  #idle: AgentSocket[] = [];
  #retired = false;
  #sweep: NodeJS.Timeout | undefined;

  /** `address`: `ip:port`. */
  constructor(address: string) {
    const colon = address.lastIndexOf(':');
    this.#host = address.slice(0, colon).replace(/^\[|\]$/g, '');
    this.#port = Number(address.slice(colon + 1));
  }

  /** Sends a request on an idle connection, or on a new one (`fresh`: always). */
  send(
    exchange: AgentExchange,
    head: string,
    options: { headOnly: boolean; hasBody: boolean; fresh: boolean },
  ): AgentSocket {
    const idle = options.fresh ? undefined : this.#idle.pop();
    const socket = idle ?? new AgentSocket(this.#host, this.#port, this);
    this.#all.add(socket);
    socket.start(exchange, head, options.headOnly, options.hasBody);
    return socket;
  }

  free(socket: AgentSocket): void {
    if (this.#retired || this.#idle.length >= MAX_IDLE) {
      socket.destroy();
      return;
    }
    socket.idleSince = performance.now();
    this.#idle.push(socket);
    this.#sweep ??= setTimeout(() => this.#dropOld(), IDLE_LIFE_MS).unref();
  }

  gone(socket: AgentSocket): void {
    this.#all.delete(socket);
    const at = this.#idle.indexOf(socket);
    if (at >= 0) this.#idle.splice(at, 1);
  }

  /** Exchanges under way go on to their end; no connection is kept after it. */
  retire(): void {
    this.#retired = true;
    clearTimeout(this.#sweep);
    for (const socket of this.#idle.splice(0)) socket.destroy();
  }

  /** Cuts everything. */
  destroy(): void {
    this.retire();
    for (const socket of this.#all) socket.destroy();
  }

  #dropOld(): void {
    const limit = performance.now() - IDLE_LIFE_MS;
    const old = this.#idle.filter((socket) => socket.idleSince < limit);
    this.#idle = this.#idle.filter((socket) => socket.idleSince >= limit);
    for (const socket of old) socket.destroy();
    this.#sweep = this.#idle.length > 0 ? setTimeout(() => this.#dropOld(), IDLE_LIFE_MS).unref() : undefined;
  }
}

import { Agent as HttpAgent } from 'node:http';
import { type Client, createClient, type Interceptor } from '@connectrpc/connect';
import { createConnectTransport } from '@connectrpc/connect-node';
import { Filesystem } from '@wrenn/proto/filesystem/filesystem_pb';
import { HostAgentService } from '@wrenn/proto/hostagent/v1/hostagent_pb';
import { Process } from '@wrenn/proto/process/process_pb';
import { Pool } from 'undici';

/** Where an agent is and what proves to it that the control plane calls. */
export interface AgentEndpoint {
  readonly hostId: string;
  /** `ip:port`. */
  readonly address: string;
  /** `control_plane_secret` of the registration (H1). */
  readonly secret: string;
}

/** The guest of one incarnation, through the agent's passthrough (AG1). */
export interface GuestAddress {
  readonly sandboxId: string;
  readonly incarnation: number;
}

/**
 * Idle connections are given up before a server's usual idle limit (5 s and more), so that a request is never written
 * into a connection that the other side is about to close.
 */
const IDLE_CONNECTION_MS = 4_000;

/**
 * All connections to one agent: Connect calls over HTTP/1.1 keep-alive, and raw bytes for files. Nothing here has a
 * total time limit (H8): a call ends by its signal, its own deadline or its connection.
 */
export class AgentConnection {
  readonly endpoint: AgentEndpoint;
  readonly rpc: Client<typeof HostAgentService>;
  /** For bytes to and from `/guest/…`; send `guestHeaders` along. */
  readonly bytes: Pool;
  readonly #sockets: HttpAgent;
  readonly #base: string;

  constructor(endpoint: AgentEndpoint) {
    this.endpoint = endpoint;
    this.#base = `http://${endpoint.address}`;
    this.#sockets = new HttpAgent({ keepAlive: true, timeout: IDLE_CONNECTION_MS });
    this.bytes = new Pool(this.#base, {
      bodyTimeout: 0,
      headersTimeout: 0,
      keepAliveTimeout: IDLE_CONNECTION_MS,
      connect: { timeout: 5_000 },
    });
    this.rpc = createClient(HostAgentService, this.#transport(this.#base, this.#authorised({})));
  }

  /** Path of the guest's own `path` (with its query) on this agent. */
  guestPath(guest: GuestAddress, path: string): string {
    return `/guest/${guest.sandboxId}${path}`;
  }

  guestHeaders(guest: GuestAddress): Record<string, string> {
    return {
      'wrenn-authorization': `Bearer ${this.endpoint.secret}`,
      'wrenn-incarnation': String(guest.incarnation),
    };
  }

  /** envd's process service; `user` null = the guest's default user. */
  processes(guest: GuestAddress, user: string | null): Client<typeof Process> {
    return createClient(Process, this.#guestTransport(guest, user));
  }

  filesystem(guest: GuestAddress, user: string | null): Client<typeof Filesystem> {
    return createClient(Filesystem, this.#guestTransport(guest, user));
  }

  /** Calls under way go on to their end; no connection is kept after it. */
  retire(): void {
    this.#sockets.maxFreeSockets = 0; // one that becomes free is closed
    for (const sockets of Object.values(this.#sockets.freeSockets))
      for (const socket of sockets ?? []) socket.destroy();
    void this.bytes.close();
  }

  /** Cuts everything. */
  async destroy(): Promise<void> {
    this.#sockets.destroy();
    await this.bytes.destroy();
  }

  #guestTransport(guest: GuestAddress, user: string | null) {
    const headers: Record<string, string> = { 'wrenn-incarnation': String(guest.incarnation) };
    if (user !== null) headers.authorization = `Basic ${Buffer.from(`${user}:`).toString('base64')}`;
    return this.#transport(`${this.#base}/guest/${guest.sandboxId}`, this.#authorised(headers));
  }

  #transport(baseUrl: string, interceptor: Interceptor) {
    return createConnectTransport({
      httpVersion: '1.1',
      baseUrl,
      nodeOptions: { agent: this.#sockets },
      interceptors: [interceptor],
      acceptCompression: [], // one machine or one rack away: compressing costs more than it saves
    });
  }

  #authorised(headers: Readonly<Record<string, string>>): Interceptor {
    const all = { 'wrenn-authorization': `Bearer ${this.endpoint.secret}`, ...headers };
    return (next) => (request) => {
      for (const [name, value] of Object.entries(all)) request.header.set(name, value);
      return next(request);
    };
  }
}

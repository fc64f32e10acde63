import type { Pool } from 'pg';
import { AgentConnection, type AgentEndpoint } from './agent-connection.ts';
import { loadEndpoint } from './agent-endpoint.ts';
import { hostUnreachable } from './agent-error.ts';

/** One lazily made, cached connection per host (H8), replaced when the host's address or secret has changed. */
export class AgentDirectory {
  readonly #sql: Pool;
  readonly #connections = new Map<string, Promise<AgentConnection>>();
  /** Those of `#connections` that are made. */
  readonly #made = new Map<string, AgentConnection>();
  /** Called when a host is not where it was: what was said of it elsewhere does not hold any more. */
  onEvict: () => void = () => undefined;

  constructor(sql: Pool) {
    this.#sql = sql;
  }

  /** What is connected already: undefined says nothing. */
  peek(hostId: string): AgentConnection | undefined {
    return this.#made.get(hostId);
  }

  /** Throws `host_unreachable` where the host is deleted, or has not registered yet. */
  connect(hostId: string): Promise<AgentConnection> {
    const known = this.#connections.get(hostId);
    if (known) return known;
    const opening = this.#open(hostId);
    this.#connections.set(hostId, opening);
    opening.then(
      (connection) => {
        if (this.#connections.get(hostId) === opening) this.#made.set(hostId, connection);
      },
      () => {
        if (this.#connections.get(hostId) === opening) this.#connections.delete(hostId);
      },
    );
    return opening;
  }

  /** After a change of the host: what is cached is kept only where it still is the host's address and secret. */
  async refresh(hostId: string): Promise<void> {
    const cached = this.#connections.get(hostId);
    if (!cached) return;
    const [connection, endpoint] = await Promise.all([cached.catch(() => null), loadEndpoint(this.#sql, hostId)]);
    if (connection && endpoint && same(connection.endpoint, endpoint)) return;
    if (this.#connections.get(hostId) === cached) this.evict(hostId);
  }

  /** Calls under way end by themselves; the next one connects anew. */
  evict(hostId: string): void {
    const cached = this.#connections.get(hostId);
    this.#connections.delete(hostId);
    this.#made.delete(hostId);
    this.onEvict();
    cached?.then(
      (connection) => connection.retire(),
      () => undefined,
    );
  }

  async close(): Promise<void> {
    const open = [...this.#connections.values()];
    this.#connections.clear();
    this.#made.clear();
    await Promise.all(
      open.map((opening) =>
        opening.then(
          (connection) => connection.destroy(),
          () => undefined,
        ),
      ),
    );
  }

  async #open(hostId: string): Promise<AgentConnection> {
    const endpoint = await loadEndpoint(this.#sql, hostId);
    if (!endpoint) throw hostUnreachable(`The host ${hostId} is deleted or not registered.`);
    return new AgentConnection(endpoint);
  }
}

function same(a: AgentEndpoint, b: AgentEndpoint): boolean {
  return a.address === b.address && a.secret === b.secret;
}

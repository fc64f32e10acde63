import type { SandboxStatus } from '@wrenn/actors';
import { type JournalEntry, queryOne } from '@wrenn/core';
import type { Pool } from 'pg';
import { z } from 'zod';

/** Where the guest of a sandbox is now: all that the data path needs to know of it. */
export interface SandboxRoute {
  readonly sandboxId: string;
  readonly teamId: string;
  readonly status: SandboxStatus;
  readonly hostId: string | null;
  readonly incarnation: number;
  /** Ports that anyone may reach (PX1). */
  readonly publicPorts: readonly number[] | 'all';
  /** Opens every port but the guest agent's. */
  readonly trafficToken: string;
  readonly autoResume: boolean;
  /** Made through E2B's surface: requests to its ports get E2B's errors (PX3). */
  readonly e2b: boolean;
  /** What the guest is shown as `Host` instead of its real one; null: the real one. */
  readonly maskHost: string | null;
}

/** Routes kept in memory; the ones used longest ago go first. */
const MAX_ROUTES = 50_000;

const routeRow = z.object({
  team_id: z.string(),
  status: z.string(),
  host_id: z.string().nullable(),
  incarnation: z.number(),
  public_ports: z.union([z.array(z.number()), z.literal('all')]).nullable(),
  traffic_token: z.string(),
  auto_resume: z.boolean(),
  e2b: z.boolean(),
  mask_host: z.string().nullable(),
});

/**
 * Routes of running sandboxes, loaded on the first use and dropped by the feed with every transition, so that exec and
 * files ask no database. Only `running` is kept. A route may be a moment old: the agent refuses a stale incarnation, and
 * then `reload` tells what is true.
 */
export class SandboxRoutes {
  readonly #sql: Pool;
  readonly #routes = new Map<string, SandboxRoute>();
  /** Look-ups under way, by sandbox: one that a transition overtook is not kept. */
  readonly #loading = new Map<string, Promise<SandboxRoute | null>>();
  /** Called when something may have changed: of one sandbox, or of all (null). */
  onChange: (sandboxId: string | null) => void = () => undefined;

  constructor(sql: Pool) {
    this.#sql = sql;
  }

  async get(sandboxId: string): Promise<SandboxRoute | null> {
    return this.peek(sandboxId) ?? this.reload(sandboxId);
  }

  /** What is known without asking: undefined says nothing. */
  peek(sandboxId: string): SandboxRoute | undefined {
    const route = this.#routes.get(sandboxId);
    if (route && this.#routes.size > MAX_ROUTES / 2) {
      this.#routes.delete(sandboxId); // to the end: the ones used longest ago go first
      this.#routes.set(sandboxId, route);
    }
    return route;
  }

  reload(sandboxId: string): Promise<SandboxRoute | null> {
    this.#routes.delete(sandboxId);
    const under = this.#loading.get(sandboxId);
    if (under) return under;
    const loading = this.#load(sandboxId)
      .then((route) => {
        if (route?.status === 'running' && this.#loading.get(sandboxId) === loading) this.#keep(route);
        return route;
      })
      .finally(() => {
        if (this.#loading.get(sandboxId) === loading) this.#loading.delete(sandboxId);
      });
    this.#loading.set(sandboxId, loading);
    return loading;
  }

  /** For every entry of the feed. */
  note(entry: JournalEntry): void {
    if (entry.kind !== 'sandbox' || entry.outcome !== 'transition') return;
    this.#routes.delete(entry.id);
    this.#loading.delete(entry.id);
    this.onChange(entry.id);
  }

  /** When entries of the feed may have been missed. */
  clear(): void {
    this.#routes.clear();
    this.#loading.clear();
    this.onChange(null);
  }

  #keep(route: SandboxRoute): void {
    if (this.#routes.size >= MAX_ROUTES) {
      const [oldest] = this.#routes.keys();
      if (oldest !== undefined) this.#routes.delete(oldest);
    }
    this.#routes.set(route.sandboxId, route);
  }

  async #load(sandboxId: string): Promise<SandboxRoute | null> {
    const row = await queryOne(
      this.#sql,
      routeRow,
      `select s.team_id, s.status, s.host_id, s.incarnation, s.public_ports, s.traffic_token, s.auto_resume,
              e.sandbox_id is not null as e2b, e.mask_host
         from sandboxes s left join e2b_sandboxes e on e.sandbox_id = s.id
        where s.id = $1`,
      [sandboxId],
    );
    if (!row) return null;
    return {
      sandboxId,
      teamId: row.team_id,
      status: row.status as SandboxStatus,
      hostId: row.host_id,
      incarnation: row.incarnation,
      publicPorts: row.public_ports ?? [],
      trafficToken: row.traffic_token,
      autoResume: row.auto_resume,
      e2b: row.e2b,
      maskHost: row.mask_host,
    };
  }
}

import { setTimeout as sleep } from 'node:timers/promises';
import { type JournalEntry, query } from '@wrenn/core';
import { z } from 'zod';
import type { SandboxRoutes } from '../sandboxes/sandbox-routes.ts';
import { pruneMirrors } from './vm-mirror.ts';
import { type WatchContext, watchHost } from './watch-host.ts';

export interface FleetLinkContext extends WatchContext {
  readonly sandboxRoutes: SandboxRoutes;
}

interface Watch {
  readonly controller: AbortController;
  readonly done: Promise<void>;
}

/** Which hosts are to be watched is also looked at this often: ownership changes are in no journal. */
const REVIEW_MS = 5_000;
const PRUNE_MS = 3_600_000;
const FEED_RETRY_MS = 500;

/**
 * What this replica follows all the time: the feed, which keeps routes and connections true, and the journal of each host
 * whose actor is here.
 */
export class FleetLink {
  readonly #context: FleetLinkContext;
  readonly #stop = new AbortController();
  readonly #watches = new Map<string, Watch>();
  #loops: Promise<unknown> = Promise.resolve();
  #review: () => void = () => undefined;

  constructor(context: FleetLinkContext) {
    this.#context = context;
  }

  /** After the runtime is in control. */
  start(): void {
    this.#loops = Promise.all([this.#followFeed(), this.#reviewWatches(), this.#prune()]);
  }

  async stop(): Promise<void> {
    this.#stop.abort();
    this.#review();
    await this.#loops;
    await Promise.all([...this.#watches.values()].map(({ done }) => done));
  }

  async #followFeed(): Promise<void> {
    const { runtime, sandboxRoutes, log } = this.#context;
    const { signal } = this.#stop;
    let cursor: string | null = null;
    while (!signal.aborted) {
      try {
        for await (const entry of runtime.feed(cursor, signal)) {
          cursor = entry.cursor;
          await this.#note(entry);
        }
      } catch (err) {
        if (signal.aborted) return;
        log.warn({ err }, 'the feed broke; routes are loaded anew');
      }
      sandboxRoutes.clear();
      await sleep(FEED_RETRY_MS, undefined, { signal }).catch(() => undefined);
    }
  }

  async #note(entry: JournalEntry): Promise<void> {
    this.#context.sandboxRoutes.note(entry);
    if (entry.kind !== 'host' || entry.outcome !== 'transition' || entry.event.type === 'HEARTBEAT') return;
    await this.#context.agents.refresh(entry.id);
    this.#review();
  }

  async #reviewWatches(): Promise<void> {
    const { signal } = this.#stop;
    while (!signal.aborted) {
      const woken = new Promise<void>((resolve) => {
        this.#review = resolve;
      });
      await this.#compareWatches().catch((err) => this.#context.log.warn({ err }, 'hosts could not be looked at'));
      const pause = new AbortController();
      await Promise.race([woken, sleep(REVIEW_MS, undefined, { signal: pause.signal }).catch(() => undefined)]);
      pause.abort();
    }
    for (const { controller } of this.#watches.values()) controller.abort();
  }

  async #compareWatches(): Promise<void> {
    const { sql, runtime } = this.#context;
    const rows = await query(
      sql,
      z.object({ id: z.string() }),
      `select id from hosts where status in ('online', 'draining', 'unreachable') and address is not null`,
    );
    const wanted = new Set(rows.map(({ id }) => id).filter((id) => runtime.owns({ kind: 'host', id })));
    for (const [id, { controller }] of this.#watches) {
      if (wanted.has(id)) continue;
      controller.abort();
      this.#watches.delete(id);
    }
    for (const id of wanted) if (!this.#watches.has(id)) this.#watch(id);
  }

  #watch(hostId: string): void {
    const controller = new AbortController();
    const done = watchHost(this.#context, hostId, AbortSignal.any([controller.signal, this.#stop.signal]));
    this.#watches.set(hostId, { controller, done });
  }

  async #prune(): Promise<void> {
    const { signal } = this.#stop;
    while (!signal.aborted) {
      await pruneMirrors(this.#context.sql).catch((err) =>
        this.#context.log.warn({ err }, 'old entries were not dropped'),
      );
      await sleep(PRUNE_MS, undefined, { signal }).catch(() => undefined);
    }
  }
}

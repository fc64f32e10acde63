import { setTimeout as sleep } from 'node:timers/promises';
import { eventOfReport } from '@wrenn/actors';
import { type JournalEntry, type PostgresRuntime, queryOne } from '@wrenn/core';
import type { VmReport, WatchSandboxesResponse } from '@wrenn/proto/hostagent/v1/hostagent_pb';
import type { Pool } from 'pg';
import type { Logger } from 'pino';
import { z } from 'zod';
import type { AgentDirectory } from './agent-directory.ts';
import { fromAgent } from './agent-error.ts';
import type { VmFeed } from './vm-feed.ts';
import { mirrorEntry } from './vm-mirror.ts';
import { vmFacts } from './vm-report.ts';

export interface WatchContext {
  readonly sql: Pool;
  readonly log: Logger;
  readonly agents: AgentDirectory;
  readonly runtime: PostgresRuntime;
  readonly vmFeed: VmFeed;
}

const FIRST_BACKOFF_MS = 250;
const MAX_BACKOFF_MS = 10_000;
/** The agent says something every 20 s; a stream that is silent for longer is dead. */
const SILENCE_MS = 45_000;

/**
 * Follows one host's journal until the signal: its reports become messages to sandboxes (their ids derive from store and
 * cursor, so that a replay changes nothing), its entries the mirrors of the inspector. A broken stream is opened again
 * from the cursor that is stored.
 */
export async function watchHost(context: WatchContext, hostId: string, signal: AbortSignal): Promise<void> {
  let backoff = FIRST_BACKOFF_MS;
  while (!signal.aborted) {
    try {
      await follow(context, hostId, signal, () => {
        backoff = FIRST_BACKOFF_MS;
      });
    } catch (error) {
      if (signal.aborted) return;
      context.log.info({ err: fromAgent(error), host_id: hostId, retry_ms: backoff }, 'the watch of a host broke');
    }
    await sleep(backoff, undefined, { signal }).catch(() => undefined);
    backoff = Math.min(backoff * 2, MAX_BACKOFF_MS);
  }
}

async function follow(context: WatchContext, hostId: string, outer: AbortSignal, heard: () => void): Promise<void> {
  const silence = new AbortController();
  const timer = setTimeout(() => silence.abort(new Error('the agent has been silent')), SILENCE_MS);
  const signal = AbortSignal.any([outer, silence.signal]);
  try {
    const agent = await context.agents.connect(hostId);
    const from = await loadCursor(context.sql, hostId);
    for await (const response of agent.rpc.watchSandboxes(from, { signal })) {
      timer.refresh();
      heard();
      await take(context, hostId, response, signal);
    }
  } finally {
    clearTimeout(timer);
  }
}

async function take(
  context: WatchContext,
  hostId: string,
  { item, storeId, cursor }: WatchSandboxesResponse,
  signal: AbortSignal,
): Promise<void> {
  if (item.case === 'journalJson') {
    const entry = JSON.parse(item.value) as JournalEntry;
    if (await mirrorEntry(context.sql, hostId, entry)) context.vmFeed.publish(entry);
    return; // its report follows under the same cursor
  }
  if (item.case === 'report') await tell(context, hostId, item.value, signal);
  await saveCursor(context.sql, hostId, storeId, cursor);
}

async function tell({ runtime, sql }: WatchContext, hostId: string, report: VmReport, signal: AbortSignal) {
  const event = eventOfReport(vmFacts(report));
  if (!event || !(await isOurs(sql, report.sandboxId))) return;
  await runtime.tell({ kind: 'sandbox', id: report.sandboxId }, event, {
    messageId: `watch:${report.storeId}:${report.cursor}`,
    cause: { type: 'host', id: hostId },
    signal,
  });
}

/** A VM that no sandbox of ours stands for is the inventory's business. */
async function isOurs(sql: Pool, sandboxId: string): Promise<boolean> {
  const { rowCount } = await sql.query('select 1 from sandboxes where id = $1', [sandboxId]);
  return rowCount === 1;
}

const watchRow = z.object({ store_id: z.string(), cursor: z.string() });

async function loadCursor(sql: Pool, hostId: string): Promise<{ storeId: string; cursor: bigint }> {
  const row = await queryOne(sql, watchRow, 'select store_id, cursor::text from host_watches where host_id = $1', [
    hostId,
  ]);
  return row ? { storeId: row.store_id, cursor: BigInt(row.cursor) } : { storeId: '', cursor: 0n };
}

/** Never backwards within one store: two replicas may read the same host while it changes hands. */
async function saveCursor(sql: Pool, hostId: string, storeId: string, cursor: bigint): Promise<void> {
  await sql.query(
    `insert into host_watches as w (host_id, store_id, cursor) values ($1, $2, $3)
     on conflict (host_id) do update set store_id = excluded.store_id, cursor = excluded.cursor, updated_at = now()
     where w.store_id <> excluded.store_id or w.cursor < excluded.cursor`,
    [hostId, storeId, String(cursor)],
  );
}

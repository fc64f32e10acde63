import type { JournalEntry } from '@wrenn/core';
import type { AgentProcess } from './agent-process.ts';

/** Longer than each deadline of a freeze. */
const PATIENCE_MS = 180_000;

/** All entries that the agent's journal keeps, oldest first. */
export async function journalOf({ client }: AgentProcess): Promise<JournalEntry[]> {
  const entries: JournalEntry[] = [];
  for await (const { item } of client.watchSandboxes({ cursor: 0n }, { signal: AbortSignal.timeout(60_000) })) {
    if (item.case === 'journalJson') entries.push(JSON.parse(item.value));
    if (item.case === 'heartbeat' && item.value.caughtUp) break;
  }
  return entries;
}

/** The first entry, kept or to come, that is the one. */
export async function untilEntry(
  { client }: AgentProcess,
  isIt: (entry: JournalEntry) => boolean,
): Promise<JournalEntry> {
  for await (const { item } of client.watchSandboxes({ cursor: 0n }, { signal: AbortSignal.timeout(PATIENCE_MS) })) {
    if (item.case !== 'journalJson') continue;
    const entry: JournalEntry = JSON.parse(item.value);
    if (isIt(entry)) return entry;
  }
  throw new Error('the watch ended');
}

import type { JournalEntry } from '@wrenn/core';
import type { AgentProcess } from './agent-process.ts';

/** All entries that the agent's journal keeps, oldest first. */
export async function journalOf({ client }: AgentProcess): Promise<JournalEntry[]> {
  const entries: JournalEntry[] = [];
  for await (const { item } of client.watchSandboxes({ cursor: 0n }, { signal: AbortSignal.timeout(60_000) })) {
    if (item.case === 'journalJson') entries.push(JSON.parse(item.value));
    if (item.case === 'heartbeat' && item.value.caughtUp) break;
  }
  return entries;
}

import type { JournalEntry, Json } from '@wrenn/core';

/** Fields of a start's spec that only the guest and the control plane's own row may hold. */
const SECRETS: ReadonlySet<string> = new Set(['access_token', 'envs']);

/** A journal entry as it may leave this program: the event of a start without its secrets. */
export function publicEntry(entry: JournalEntry): JournalEntry {
  const { spec } = entry.event;
  if (typeof spec !== 'object' || spec === null || Array.isArray(spec)) return entry;
  const shown: Record<string, Json | undefined> = {};
  for (const [name, value] of Object.entries(spec)) if (!SECRETS.has(name)) shown[name] = value;
  return { ...entry, event: { ...entry.event, spec: shown } };
}

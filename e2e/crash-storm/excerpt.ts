import type { JournalEntry } from '@wrenn/core';
import type pg from 'pg';
import type { JournalState } from '../../core/src/journal/journal-state.ts';
import type { Finding } from './finding.ts';
import { sandboxOf } from './live-vms.ts';
import { journalOf } from './replayed.ts';

/** Of each finding so many sandboxes are told of, with so many of their last entries on each side. */
const SANDBOXES = 2;
const ENTRIES = 40;

/** Each finding with what the journals of both sides say of the sandboxes that it names. */
export async function explained(found: readonly Finding[], sql: pg.Client, host: JournalState): Promise<string[]> {
  const lines: string[] = [];
  for (const { line, ids } of found) {
    const sandboxes = [...new Set(ids.map((id) => (/\.\d+$/.test(id) ? sandboxOf(id) : id)))].slice(0, SANDBOXES);
    const about = await Promise.all(sandboxes.map((id) => excerpt(id, sql, host)));
    lines.push([line, ...about.flat()].join('\n'));
  }
  return [...new Set(lines)];
}

async function excerpt(id: string, sql: pg.Client, host: JournalState): Promise<string[]> {
  const entries = [
    ...(await journalOf(sql, 'sandbox', id)),
    ...(await journalOf(sql, 'snapshot', id)),
    ...host.entries.filter((entry) => entry.kind === 'vm' && entry.id.startsWith(`${id}.`)),
  ].sort((a, b) => a.at - b.at);
  return entries.slice(-ENTRIES).map((entry) => `    ${say(entry)}`);
}

/** Time, whose entry, what came from whom, and where it led. */
function say({ at, kind, id, seq, event, cause, outcome, path }: JournalEntry): string {
  const { code, incarnation, status, step, message } = event as unknown as Record<string, unknown>;
  const details = [incarnation, status, step, code, message].filter((value) => value !== undefined).join(' ');
  const by = cause.type === 'system' ? '' : ` by ${JSON.stringify(cause)}`;
  const result = outcome === 'transition' ? `→ ${path}` : `${outcome} in ${path}`;
  return `${new Date(at).toISOString().slice(11, 23)} ${kind} ${id} ${seq}: ${event.type} ${details}${by} ${result}`;
}

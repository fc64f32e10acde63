import { hostDefinition, sandboxDefinition, snapshotDefinition } from '@wrenn/actors';
import type { ActorDefinition, JournalEntry } from '@wrenn/core';
import type pg from 'pg';
import { ACTOR_COLUMNS, ENTRY_COLUMNS, toActorRow, toJournalEntry } from '../../core/src/postgres/rows.ts';
import { PreparedMachine } from '../../core/src/step/prepared-machine.ts';
import { replay } from '../../core/src/step/replay.ts';
import { type ActorRow, actorRow } from '../../core/src/step/stored-actor.ts';
import type { Finding } from './finding.ts';

/** I7 and I8 of the control plane's actors, as they are at one moment: also those at rest hear late reports. */
export async function replayed(sql: pg.Client): Promise<Finding[]> {
  await sql.query('begin isolation level repeatable read read only');
  try {
    return await differences(sql);
  } finally {
    await sql.query('rollback');
  }
}

async function differences(sql: pg.Client): Promise<Finding[]> {
  const found: Finding[] = [];
  for (const definition of [sandboxDefinition, snapshotDefinition, hostDefinition] as ActorDefinition[]) {
    const machine = new PreparedMachine(definition);
    const { rows } = await sql.query(`select ${ACTOR_COLUMNS} from actors where kind = $1`, [definition.kind]);
    for (const row of rows.map(toActorRow))
      found.push(...compare(machine, row, await journalOf(sql, row.kind, row.id)));
  }
  return found;
}

/** The entries of one actor, in their order. */
export async function journalOf(sql: pg.Client, kind: string, id: string): Promise<JournalEntry[]> {
  const { rows } = await sql.query(
    `select ${ENTRY_COLUMNS} from actor_events where kind = $1 and id = $2 order by seq`,
    [kind, id],
  );
  return rows.map(toJournalEntry);
}

/** The journal replayed from its start gives what is stored (I7), which owes no answer (I8). */
export function compare(machine: PreparedMachine, row: ActorRow, entries: readonly JournalEntry[]): Finding[] {
  const name = `${row.kind} ${row.id}`;
  const found: Finding[] = [];
  const say = (line: string) => found.push({ line, ids: [row.id] });
  const owed = row.kind === 'host' ? [] : row.ledger.owed;
  if (owed.length > 0) say(`I8: ${name} in ${row.path} owes an answer to ${owed.join(', ')}`);
  try {
    const state = replay(machine, { kind: row.kind, id: row.id }, entries);
    const again = state && (JSON.parse(JSON.stringify(actorRow(machine, state))) as ActorRow);
    if (!again || again.seq !== row.seq || again.path !== row.path || text(again.snapshot) !== text(row.snapshot)) {
      say(`I7: ${name} is ${row.path} at ${row.seq}, its journal gives ${again?.path} at ${again?.seq}`);
    }
  } catch (error) {
    say(`I7: ${(error as Error).message}`);
  }
  return found;
}

/** JSON with its keys in order: jsonb keeps its own. */
function text(value: unknown): string {
  return JSON.stringify(value, (_, item: unknown) =>
    item !== null && typeof item === 'object' && !Array.isArray(item)
      ? Object.fromEntries(Object.entries(item).sort(([a], [b]) => (a < b ? -1 : 1)))
      : item,
  );
}

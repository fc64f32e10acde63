import { vmDefinition } from '@wrenn/actors';
import { JournalFile } from '../../core/src/journal/journal-file.ts';
import { type JournalRecord, JournalState } from '../../core/src/journal/journal-state.ts';
import { PreparedMachine } from '../../core/src/step/prepared-machine.ts';
import type { Finding } from './finding.ts';
import { compare } from './replayed.ts';

/** All that an agent's journal has, from files whose agent has ended. */
export async function readHostJournal(dir: string): Promise<JournalState> {
  const state = new JournalState({ entries: 1_000_000, doneMs: Number.MAX_SAFE_INTEGER });
  const apply = (record: unknown) => state.apply(record as JournalRecord);
  const file = new JournalFile({ dir, apply, synced: () => state.synced(), compacted: () => [] });
  await file.open();
  await file.close();
  return state;
}

/** I7 and I8 of its actors, as far back as the journal is kept. */
export function replayedOnHost(journal: JournalState): Finding[] {
  const machine = new PreparedMachine(vmDefinition);
  return [...journal.actors.values()].flatMap(({ row }) => {
    const entries = journal.entries.filter(({ id }) => id === row.id);
    return entries[0]?.seq === 1 ? compare(machine, row, entries) : [];
  });
}

/** Sandboxes by the VM made ahead that one of their starts has taken over. */
export function takenOver(journal: JournalState): Map<string, string> {
  const found = new Map<string, string>();
  for (const { kind, id, event } of journal.entries) {
    if (kind === 'vm' && event.type === 'CLAIM') found.set(id, (event as unknown as { by: string }).by);
  }
  return found;
}

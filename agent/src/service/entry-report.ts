import { isSandboxVm, type VmReport as VmFact, vmReport } from '@wrenn/actors';
import type { JournalEntry } from '@wrenn/core';
import type { VmReport } from '@wrenn/proto/hostagent/v1/hostagent_pb';
import type { VmJournal } from '../vm-journal.ts';
import { toReport } from './report.ts';

/** States from which a start becomes ready. */
const STARTS: ReadonlySet<string> = new Set(['booting', 'restoring']);
/** Far more entries than a VM has between its first and its last. */
const ALL_ENTRIES = 1_000;

/**
 * What one entry of the journal says of its VM: the status that it led to, and the command that it answers. What else is
 * in the report is the VM's present context, of which only the failure may not have been known yet.
 */
export async function entryReport(journal: VmJournal, entry: JournalEntry): Promise<VmReport | null> {
  const view = entry.outcome === 'transition' ? await journal.read(entry.id) : null;
  if (view === null || !isSandboxVm(view)) return null;
  const fact = vmReport({ ...view, path: entry.path });
  const origin = { storeId: journal.storeId, cursor: BigInt(entry.cursor) };
  if (fact.status === 'starting') return toReport(withoutFailure(fact), origin);
  if (fact.status === 'ready') {
    // A pause or branch on its way is no news; the end of a start answers its create.
    const isStart = entry.to === 'ready' && STARTS.has(String(entry.from));
    const key = isStart ? await keyOf(journal, entry.id, 'CREATE') : '';
    return toReport(withoutFailure(fact), { ...origin, key });
  }
  if (fact.status === 'paused') {
    return toReport(withoutFailure(fact), { ...origin, key: await keyOf(journal, entry.id, 'PAUSE') });
  }
  if (fact.status !== 'gone') return toReport(fact, origin);
  // The end answers whoever asked for it, else the create if there never was a guest; else it is spontaneous.
  const destroy = await keyOf(journal, entry.id, 'DESTROY');
  if (destroy !== '') return toReport(withoutFailure(fact), { ...origin, key: destroy });
  const key = (await wasReady(journal, entry.id)) ? '' : await keyOf(journal, entry.id, 'CREATE');
  return toReport(fact, { ...origin, key });
}

function withoutFailure({ code: _, message: __, retryable: ___, ...fact }: VmFact): VmFact {
  return fact;
}

/** The key of the latest command of a type; empty: there was none. */
async function keyOf(journal: VmJournal, vmId: string, type: 'CREATE' | 'DESTROY' | 'PAUSE'): Promise<string> {
  const key = (await entriesOf(journal, vmId)).findLast(({ event }) => event.type === type)?.event.key;
  return typeof key === 'string' ? key : '';
}

async function wasReady(journal: VmJournal, vmId: string): Promise<boolean> {
  return (await entriesOf(journal, vmId)).some(({ to }) => to === 'ready');
}

function entriesOf(journal: VmJournal, vmId: string): Promise<JournalEntry[]> {
  return journal.runtime.journal({ kind: 'vm', id: vmId }, { limit: ALL_ENTRIES });
}

import type { VmStatus } from '@wrenn/actors';
import type { VmJournal } from '../vm-journal.ts';

/** Far more entries than a VM has between its first and its last. */
const ALL_ENTRIES = 1_000;

/**
 * The key of the command that a report in the watch answers, so that the unary answer and the report are known as one
 * fact (design.md §4): `ready` answers the create, `gone` the destroy, or the create if nobody asked for the end.
 * Empty: the report is spontaneous.
 */
export async function answeredKey(journal: VmJournal, vmId: string, status: VmStatus): Promise<string> {
  if (status !== 'ready' && status !== 'gone') return '';
  const entries = await journal.runtime.journal({ kind: 'vm', id: vmId }, { limit: ALL_ENTRIES });
  const keyOf = (type: string): string | undefined => {
    const key = entries.findLast(({ event }) => event.type === type)?.event.key;
    return typeof key === 'string' ? key : undefined;
  };
  const destroyed = status === 'gone' ? keyOf('DESTROY') : undefined;
  return destroyed ?? keyOf('CREATE') ?? '';
}

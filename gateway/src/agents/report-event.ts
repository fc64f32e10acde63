import type { Released, VmDied, VmFacts, VmFailed, VmReady } from '@wrenn/actors';
import type { VmReport } from '@wrenn/proto/hostagent/v1/hostagent_pb';
import { died, startResult, vmFacts } from './vm-report.ts';

export interface ReportMessage {
  readonly event: VmReady | VmFailed | VmDied | Released;
  /** Set where the report answers a command: a unary answer with the same key is the same fact, the first closes it. */
  readonly effectKey?: string;
}

/** What a watched report means to its sandbox; null for what only the inspector wants to know. */
export function reportMessage(report: VmReport): ReportMessage | null {
  const facts = vmFacts(report);
  const answers = report.key === '' ? {} : { effectKey: report.key };
  switch (facts.status) {
    case 'ready':
      return report.key === '' ? null : { event: startResult(facts), ...answers };
    case 'crashed':
      return { event: died(facts) };
    case 'gone':
      if (facts.code === undefined) return { event: released(facts), ...answers };
      // With a key it is the end of a failed start; without one the end of a VM that had been running.
      return report.key === '' ? { event: died(facts) } : { event: startResult(facts), ...answers };
    default:
      return null;
  }
}

function released({ incarnation, store_id, cursor }: VmFacts): Released {
  return {
    type: 'RELEASED',
    incarnation,
    ...(store_id !== undefined && { store_id }),
    ...(cursor !== undefined && { cursor }),
  };
}

import type { components } from '@wrenn/sdk/openapi';
import type { JournalEntry } from '../lib/api.ts';
import { eventName } from './journal.ts';

export type Pair = components['schemas']['MessagePair'];

/** One line of the paired view: something that happened to one of the actors. */
export interface Line {
  /** As the ends of a message name it: `sandbox sb… 3`. */
  readonly id: string;
  readonly lane: 'sandbox' | 'vm' | 'host';
  readonly entry: JournalEntry;
  /** Milliseconds since 1970, by the clock of the machine that wrote it. */
  readonly at: number;
}

/** What a host does by itself, every some seconds: no part of a sandbox's story. */
const ROUTINE = /^(HEARTBEAT|CREDENTIALS_RENEWED|INVENTOR|SWEEP)/;

/** The journals of a sandbox, its VMs and its host in one order. Of the host, what befell it in the sandbox's time. */
export function linesOf(
  sandbox: readonly JournalEntry[],
  vms: readonly JournalEntry[],
  host: readonly JournalEntry[],
): Line[] {
  const began = Date.parse(sandbox[0]?.at ?? '');
  const ofHost = host.filter(
    (entry) => Date.parse(entry.at) >= began && entry.outcome === 'transition' && !ROUTINE.test(eventName(entry)),
  );
  return [
    ...sandbox.map((entry) => line('sandbox', entry)),
    ...vms.map((entry) => line('vm', entry)),
    ...ofHost.map((entry) => line('host', entry)),
  ].sort((one, other) => one.at - other.at);
}

function line(lane: Line['lane'], entry: JournalEntry): Line {
  return { id: `${entry.kind} ${entry.id} ${entry.seq}`, lane, entry, at: Date.parse(entry.at) };
}

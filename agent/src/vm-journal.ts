import { type VmContext, vmDefinition } from '@wrenn/actors';
import { lockFile } from '@wrenn/addon';
import { type ActorView, createJournalRuntime, type EffectHandler, type Logger, type Runtime } from '@wrenn/core';

/** The agent's journal of `vm` actors (AG4). */
export interface VmJournal {
  readonly runtime: Runtime;
  readonly storeId: string;
  /** Position of the last commit. */
  cursor(): bigint;
  /** How often the journal was written through to the disk since it was opened. */
  syncs(): number;
  /** Every `vm` actor that is kept, graves included. */
  list(): Promise<ActorView<VmContext>[]>;
  read(vmId: string): Promise<ActorView<VmContext> | null>;
  close(): Promise<void>;
}

export interface VmJournalOptions {
  readonly folder: string;
  readonly handlers: Readonly<Record<string, EffectHandler>>;
  readonly log: Logger;
  /** Entries kept for readers of the watch; default: the runtime's. */
  readonly keepEntries?: number;
}

/** Opens the journal, locks its folder, and runs it. A second agent on the same folder is refused. */
export async function openVmJournal({ folder, ...options }: VmJournalOptions): Promise<VmJournal> {
  const runtime = createJournalRuntime({ ...options, dir: folder, definitions: [vmDefinition], lock: lockFile });
  await runtime.start();
  return {
    runtime,
    storeId: runtime.storeId,
    cursor: () => BigInt(runtime.cursor),
    syncs: () => runtime.syncs,
    list: async () => (await runtime.list('vm')) as ActorView<VmContext>[],
    read: async (vmId) => (await runtime.read({ kind: 'vm', id: vmId })) as ActorView<VmContext> | null,
    close: () => runtime.stop(),
  };
}

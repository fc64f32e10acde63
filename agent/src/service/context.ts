import type { Logger } from '@wrenn/core';
import type { Activity } from '../activity.ts';
import type { AgentFiles } from '../files.ts';
import type { Incarnations } from '../incarnations.ts';
import type { LiveVm, LiveVms } from '../live-vms.ts';
import type { VmMetrics } from '../metrics/vm-metrics.ts';
import type { RootfsStore } from '../rootfs/store.ts';
import type { SlotPool } from '../slots/pool.ts';
import type { Snapshots } from '../snapshots/snapshots.ts';
import type { VmJournal } from '../vm-journal.ts';
import type { WarmPool } from '../warm-pool.ts';
import { failure } from './failure.ts';

/** What the service's methods work with. */
export interface ServiceContext {
  readonly journal: VmJournal;
  readonly incarnations: Incarnations;
  readonly vms: LiveVms;
  readonly activity: Activity;
  readonly files: AgentFiles;
  readonly rootfs: RootfsStore;
  readonly slots: SlotPool;
  readonly snapshots: Snapshots;
  readonly warm: WarmPool;
  readonly metrics: VmMetrics;
  readonly log: Logger;
  /** Destroys every sandbox of this host and then ends the program (AG6); resolves with their number, before the end. */
  terminate(signal: AbortSignal): Promise<number>;
}

/** The VM that a call into the guest is for. 0 stands for whichever incarnation is there. */
export function requireReady(context: ServiceContext, sandboxId: string, incarnation: number): LiveVm {
  const vm = context.vms.ready(sandboxId);
  if (vm !== undefined && (incarnation === 0 || incarnation === vm.incarnation)) return vm;
  const latest = context.incarnations.latest(sandboxId);
  if (latest === undefined) throw failure('not_found', 'there is no such sandbox on this host');
  if (incarnation !== 0 && incarnation < latest) {
    throw failure('stale_incarnation', 'the sandbox has been started again since');
  }
  throw failure('not_running', 'the sandbox is not running');
}

import type { Logger, Runtime } from '@wrenn/core';
import type { AgentFiles } from '../files.ts';
import type { Gate } from '../gate.ts';
import type { LiveVms } from '../live-vms.ts';
import type { RootfsStore } from '../rootfs/store.ts';
import type { SlotPool } from '../slots/pool.ts';
import type { Snapshots } from '../snapshots/snapshots.ts';
import type { Templates } from '../snapshots/templates.ts';
import type { Vmm } from '../vmm/vmm.ts';
import type { Admission } from './admission.ts';
import type { PhaseTimes } from './phase-times.ts';
import type { Serial } from './serial.ts';

/** What the effects of `vm` actors work with. */
export interface EffectContext {
  readonly files: AgentFiles;
  readonly vmm: Vmm;
  readonly rootfs: RootfsStore;
  readonly snapshots: Snapshots;
  readonly templates: Templates;
  readonly slots: SlotPool;
  readonly admission: Admission;
  readonly serial: Serial;
  readonly times: PhaseTimes;
  readonly vms: LiveVms;
  /** Opens when reality and journal agree. */
  readonly gate: Gate;
  readonly log: Logger;
  /** Set once the runtime exists, which is before it runs any effect. */
  readonly runtime: () => Runtime;
}

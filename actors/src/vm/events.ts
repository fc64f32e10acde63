import type { DomainEvent, EventMeta, Stamped } from '@wrenn/core';

/** What the host needs to know of a sandbox to start it (`SandboxSpec` of the host agent's protocol). */
export type VmSpec = {
  template: string;
  vcpus: number;
  memory_mb: number;
  disk_size_mb: number;
  envs: Record<string, string>;
  access_token: string;
  default_user: string;
  hostname: string;
  team_id: string;
};

/** What a host says of one incarnation (`VmStatus` of the protocol, in lower case). */
export type VmStatus = 'gone' | 'starting' | 'ready' | 'crashed' | 'releasing' | 'paused';

/** A frozen VM as files of one host (`SnapshotInfo` of the protocol). Bytes are allocated ones (FS6). */
export type SnapshotInfo = {
  /** Empty for the snapshot of a paused incarnation. */
  snapshot_id: string;
  memory_bytes: number;
  disk_bytes: number;
  /** Memory generations on top of the base. */
  generations: number;
  vcpus: number;
  memory_mb: number;
  disk_size_mb: number;
  /** Time for which the guest stood still. */
  freeze_ms: number;
  /** What it needs to run (SN12): VMM, its version and digest, CPU, kernel. */
  needs: Record<string, string>;
};

/** One fact about one incarnation; `store_id`, `cursor` and `key` are added by the agent's service. */
export type VmReport = {
  sandbox_id: string;
  incarnation: number;
  status: VmStatus;
  /** Set after a failure or a crash: a stable code, words, and whether another host may succeed. */
  code?: string;
  message?: string;
  retryable?: boolean;
  host_ip?: string;
  guest_ip?: string;
  timings_ms?: Record<string, number>;
  console_tail?: string;
  /** Of a paused VM. */
  snapshot?: SnapshotInfo;
};

/** The slot of NET1: what the network step made. */
export type Slot = { index: number; host_ip: string; guest_ip: string; namespace: string };
/** What the root file system step made. */
export type Disk = { path: string; format: string };
/** The VMM process; `start_time` (clock ticks since boot, /proc/pid/stat) tells it from a later one with the same pid. */
export type VmmProcess = { pid: number; start_time: number };

export type VmStep = 'admit' | 'slot' | 'rootfs' | 'launch' | 'await_guest';
/** Names of the undo list, each the effect `vm.<name>`. */
export type VmUndo = 'kill' | 'unroot' | 'unslot';

/**
 * Brings an incarnation into being. Answered later: at `ready` (value: `VmReport`) or at `gone`
 * (error, details `{retryable, console_tail}`). Sent again to one that is alive it waits for the same outcome.
 */
export type VmCreate = {
  type: 'CREATE';
  sandbox_id: string;
  incarnation: number;
  key: string;
  epoch: number;
  spec: VmSpec;
  /** Time for the start, counted from admission. */
  budget_ms: number;
};
/**
 * Answered at `gone` (value: `VmReport`). Sent to an incarnation that is not known it makes the tombstone:
 * an actor that is `gone` from its first commit, so that a create that arrives later is refused (I1).
 */
export type VmDestroy = { type: 'DESTROY'; sandbox_id: string; incarnation: number; key: string; epoch: number };

export type VmAdmitted = { type: 'ADMITTED' };
export type VmSlotReady = { type: 'SLOT_READY' } & Slot;
export type VmRootfsReady = { type: 'ROOTFS_READY'; disk: Disk };
export type VmmStarted = { type: 'VMM_STARTED' } & VmmProcess;
export type GuestReady = { type: 'GUEST_READY'; timings_ms: Record<string, number> };
export type StepFailed = { type: 'STEP_FAILED'; step: VmStep; code: string; message: string; retryable: boolean };
/** The pidfd fired, or a restarted agent found the process gone. */
export type VmmExited = { type: 'VMM_EXITED'; code: number | null; signal: string | null; console_tail: string };
/** An undo step is done; that the thing was absent counts as done. */
export type Undone = { type: 'UNDONE'; step: VmUndo };
/** A restarted agent found the VMM alive (pid, start time, sandbox id) and watches it again. */
export type Adopted = { type: 'ADOPTED' };

export type VmEvent =
  | VmCreate
  | VmDestroy
  | VmAdmitted
  | VmSlotReady
  | VmRootfsReady
  | VmmStarted
  | GuestReady
  | StepFailed
  | VmmExited
  | Undone
  | Adopted;
export type StampedVmEvent = Stamped<VmEvent & DomainEvent>;

export type VmContext = {
  sandbox_id: string;
  incarnation: number;
  /** The highest epoch that commanded this incarnation. */
  epoch: number;
  /** Null for a tombstone. */
  team_id: string | null;
  /** Null for a tombstone, and once it is gone. Carries secrets: envs, access token. */
  spec: VmSpec | null;
  budget_ms: number;
  created_at: number;
  admitted_at: number | null;
  slot: Slot | null;
  disk: Disk | null;
  vmm: VmmProcess | null;
  timings_ms: Record<string, number>;
  /** What must still be undone, in the order it was begun; run from its end. */
  undo: VmUndo[];
  failure: { code: string; message: string; retryable: boolean } | null;
  console_tail: string | null;
  /** Message ids of CREATE and DESTROY commands that have no answer yet. */
  create_waiters: string[];
  destroy_waiters: string[];
  adoptions: number;
};
export type VmInput = { event: VmCreate | VmDestroy; meta: EventMeta };

import type { DomainEvent, EventMeta, Stamped } from '@wrenn/core';

/**
 * What a guest may reach (NET4): IPv4 networks in CIDR notation and domain names (`*.example.com`: all below it). `allow`
 * goes before `deny`, the rest is allowed.
 */
export type EgressPolicy = { allow: string[]; deny: string[] };

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
  /** Null or absent: everything that is not the host's own. */
  egress?: EgressPolicy | null;
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

/**
 * What an incarnation is for. `boot` makes the boot snapshot of a template and size class and ends. Two kinds are made ahead
 * of demand and wait for a sandbox that takes them over: `warm` is restored, has answered once and was stopped again,
 * `waiting` is a VMM with slot and disk that is yet to be restored. None of these is a sandbox: no report tells of them.
 */
export type VmPurpose = 'sandbox' | 'boot' | 'warm' | 'waiting';
/** What it is started from: the kernel, the boot snapshot of its template, a snapshot, or a paused incarnation of its own. */
export type VmSource =
  | { kind: 'kernel' }
  | { kind: 'template' }
  | { kind: 'snapshot'; snapshot_id: string }
  | { kind: 'paused'; incarnation: number };
/** Where the frozen VM lies that it is restored from, as found at the admission. */
export type VmOrigin = { kind: 'snapshot'; snapshot_id: string } | { kind: 'paused'; vm_id: string };

export type VmStep =
  | 'admit'
  | 'claim'
  | 'slot'
  | 'rootfs'
  | 'launch'
  | 'await_guest'
  | 'restore'
  | 'quiesce'
  | 'save'
  | 'branch'
  | 'publish'
  | 'continue';
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
  purpose: VmPurpose;
  source: VmSource;
  /** The warm VM that it takes over: committed here before that one continues. Null: it makes its own. */
  claim: string | null;
};
/**
 * Freezes a ready VM into files and releases all else (SN1). Answered at `paused` (value: `VmReport`), or with
 * `pause_failed` when the VM runs on.
 */
export type VmPause = { type: 'PAUSE'; sandbox_id: string; incarnation: number; key: string; epoch: number };
/** Makes a snapshot of a ready VM, which runs on (SN9, SN10). Answered at `ready`: `VmReport` with `snapshot`, or the reason. */
export type VmBranch = {
  type: 'BRANCH';
  sandbox_id: string;
  incarnation: number;
  key: string;
  epoch: number;
  snapshot_id: string;
  /** Starts that will follow at once; 0 for a snapshot that is kept by name. */
  children: number;
};
/** A sandbox takes a warm VM over: what this one holds is the sandbox's from this commit on. */
export type VmClaim = { type: 'CLAIM'; by: string };
/** A later incarnation is paused, or the sandbox is destroyed: this one's files are not needed any more. */
export type Superseded = { type: 'SUPERSEDED' };

/**
 * Answered at `gone` (value: `VmReport`). Sent to an incarnation that is not known it makes the tombstone:
 * an actor that is `gone` from its first commit, so that a create that arrives later is refused (I1).
 */
export type VmDestroy = { type: 'DESTROY'; sandbox_id: string; incarnation: number; key: string; epoch: number };

export type VmAdmitted = { type: 'ADMITTED'; origin: VmOrigin | null };
/** The warm VM is ours, with all that it holds. */
export type VmClaimed = { type: 'CLAIMED'; origin: VmOrigin; slot: Slot; disk: Disk; vmm: VmmProcess };
/** The warm VM had ended before it could be taken over. */
export type ClaimLost = { type: 'CLAIM_LOST' };
export type VmSlotReady = { type: 'SLOT_READY' } & Slot;
export type VmRootfsReady = { type: 'ROOTFS_READY'; disk: Disk };
export type VmmStarted = { type: 'VMM_STARTED' } & VmmProcess;
export type GuestReady = { type: 'GUEST_READY'; timings_ms: Record<string, number> };
/** The guest has stopped its processes and written its files; nobody speaks to it any more. */
export type VmQuiesced = { type: 'QUIESCED'; timings_ms: Record<string, number> };
/** Memory, devices and disk are in files. */
export type VmSaved = { type: 'SAVED'; timings_ms: Record<string, number> };
/** The same, and the guest runs again. */
export type VmBranched = { type: 'BRANCHED'; timings_ms: Record<string, number> };
/** The snapshot is whole and durable (I2). */
export type VmPublished = { type: 'PUBLISHED'; snapshot: SnapshotInfo; timings_ms: Record<string, number> };
/** The guest of a pause or branch that failed runs as before. */
export type VmContinued = { type: 'CONTINUED' };
/** A restarted agent found a pause or a branch in the middle: it is rolled back. */
export type Interrupted = { type: 'INTERRUPTED' };
export type StepFailed = { type: 'STEP_FAILED'; step: VmStep; code: string; message: string; retryable: boolean };
/** The pidfd fired, or a restarted agent found the process gone. */
export type VmmExited = { type: 'VMM_EXITED'; code: number | null; signal: string | null; console_tail: string };
/** An undo step is done; that the thing was absent counts as done. */
export type Undone = { type: 'UNDONE'; step: VmUndo };
/** A restarted agent found the VMM alive (pid, start time, sandbox id) and watches it again. */
export type Adopted = { type: 'ADOPTED' };
/** The VMM has stopped its guest, which can do nothing until STALL_ENDED: a write found no room on the host (FS4). */
export type Stalled = { type: 'STALLED'; code: 'disk_full'; message: string };
/** There was room again, and the guest was set going. */
export type StallEnded = { type: 'STALL_ENDED' };

export type VmEvent =
  | VmCreate
  | VmDestroy
  | VmPause
  | VmBranch
  | VmClaim
  | Superseded
  | VmAdmitted
  | VmClaimed
  | ClaimLost
  | VmQuiesced
  | VmSaved
  | VmBranched
  | VmPublished
  | VmContinued
  | Interrupted
  | VmSlotReady
  | VmRootfsReady
  | VmmStarted
  | GuestReady
  | StepFailed
  | VmmExited
  | Undone
  | Adopted
  | Stalled
  | StallEnded;
export type StampedVmEvent = Stamped<VmEvent & DomainEvent>;

export type VmContext = {
  sandbox_id: string;
  incarnation: number;
  /** The highest epoch that commanded this incarnation. */
  epoch: number;
  /** Null for a tombstone. */
  team_id: string | null;
  /** Null for a tombstone, and once it is paused or gone. Carries secrets: envs, access token. */
  spec: VmSpec | null;
  purpose: VmPurpose;
  source: VmSource;
  /** The warm VM that it takes over. */
  claim: string | null;
  origin: VmOrigin | null;
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
  /** The snapshot that the present `branching` makes, or that the boot of a template makes. */
  branch: { snapshot_id: string; children: number } | null;
  /** Why the present pause or branch fails; told to its askers when the guest runs again. */
  setback: { code: string; message: string } | null;
  /** What the last branch, or the boot of a template, has made. */
  made: SnapshotInfo | null;
  /** Set from the publication of a pause on: the files are kept when all else is released. */
  snapshot: SnapshotInfo | null;
  console_tail: string | null;
  /** Message ids of commands that have no answer yet. */
  create_waiters: string[];
  destroy_waiters: string[];
  /** Of PAUSE and BRANCH. */
  pause_waiters: string[];
  branch_waiters: string[];
  adoptions: number;
};
export type VmInput = { event: VmCreate | VmDestroy; meta: EventMeta };

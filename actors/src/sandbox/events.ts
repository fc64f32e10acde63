import type { DomainEvent, EventMeta, Stamped } from '@wrenn/core';
import type { EgressPolicy, SnapshotInfo, VmStatus } from '../vm/events.ts';

/** A reason as people and programs read it: stable code, words. */
export type Reason = { code: string; message: string };

/** Times are milliseconds since 1970. */
export type SandboxSpec = {
  team_id: string;
  template: string;
  vcpus: number;
  memory_mb: number;
  disk_size_mb: number;
  /** Seconds without activity after which `on_timeout` is done; 0 = never (SN7). */
  timeout_sec: number;
  on_timeout: 'pause' | 'destroy';
  /** Absolute end of life, apart from idleness (SN15). */
  ends_at: number | null;
  on_end: 'kill' | 'pause';
  labels: Record<string, string>;
  envs: Record<string, string>;
  public_ports: number[] | 'all';
  auto_resume: boolean;
  /** What it may reach (NET4); null or absent: everything. */
  egress?: EgressPolicy | null;
  access_token: string;
  traffic_token: string;
  /** Id of the user or key that made it. */
  created_by: string;
  /** What it starts from instead of the template's image. */
  snapshot: SnapshotRef | null;
};
/**
 * A snapshot, which lies on one host. An ephemeral one is a fork's: its actor hears how each child started, and deletes it
 * after the last.
 */
export type SnapshotRef = { id: string; host_id: string; ephemeral: boolean };

/**
 * Answered later, value `{sandbox_id, status}`: done at `running`, failed at `error`, `stopped` or `missing`
 * (details `{sandbox_id, status}`). With `wait: false` in its own commit.
 */
export type SandboxCreate = { type: 'CREATE'; spec: SandboxSpec; wait: boolean };
/**
 * Answered later, value `{sandbox_id, status}`: at `stopped`; or with status `stopping` when the host cannot be reached
 * now (it is done when the host returns) or when `wait` is false.
 */
export type SandboxDestroy = { type: 'DESTROY'; wait?: boolean };
/** Fields that are absent stay as they are. */
export type SandboxPatch = {
  type: 'PATCH';
  labels?: Record<string, string>;
  timeout_sec?: number;
  on_timeout?: 'pause' | 'destroy';
  ends_at?: number | null;
  on_end?: 'kill' | 'pause';
  public_ports?: number[] | 'all';
  auto_resume?: boolean;
  egress?: EgressPolicy;
};
export type SandboxPing = { type: 'PING' };
/**
 * Answered later, value `{sandbox_id, status}`: done at `paused`; failed with `pause_failed` (it runs on), or with what has
 * ended it meanwhile.
 */
export type SandboxPause = { type: 'PAUSE' };
/**
 * Answered later, value `{sandbox_id, status}`: done at `running`; failed with why it stays paused. With `join` it is also
 * taken while the sandbox is pausing (it is resumed afterwards), resuming or running: for traffic that wakes it, where
 * many come at once and all want the same. `ends_at` and `timeout_sec` replace those of the spec as in PATCH; an `ends_at`
 * that has passed is dropped.
 */
export type SandboxResume = { type: 'RESUME'; join?: boolean; ends_at?: number | null; timeout_sec?: number };
/**
 * Makes a snapshot under this id, of a running sandbox (which runs on) or of a paused one. Answered later, value
 * `{snapshot_id}`; its actor and its row in `templates` are then on their way. A failure leaves nothing of it.
 */
export type SandboxSnapshot = { type: 'SNAPSHOT'; snapshot_id: string; name: string; created_by: string };
/**
 * Makes an ephemeral snapshot and a sandbox of each child from it. Answered later, value `{snapshot_id}`, as soon as the
 * snapshot's actor starts the children: that one tells how they came out (its command AWAIT).
 */
export type SandboxFork = { type: 'FORK'; snapshot_id: string; children: ForkChild[]; created_by: string };
export type ForkChild = { sandbox_id: string; access_token: string; traffic_token: string };

/** Position of a report in the journal of the host's agent: `gone` counts only from the same store, not older than the last seen. */
export type ReportOrigin = { store_id?: string; cursor?: number };

/** `store_id` is the host's as the `hosts` row has it; null before its first heartbeat. */
export type Reserved = { type: 'RESERVED'; host_id: string; store_id?: string | null };
export type PlaceFailed = { type: 'PLACE_FAILED'; code: string; message: string };
export type VmReady = ReportOrigin & {
  type: 'VM_READY';
  incarnation: number;
  host_ip: string;
  guest_ip: string;
  timings_ms: Record<string, number>;
};
export type VmFailed = ReportOrigin & {
  type: 'VM_FAILED';
  incarnation: number;
  code: string;
  message: string;
  retryable: boolean;
  console_tail?: string;
};
export type VmDied = ReportOrigin & {
  type: 'VM_DIED';
  incarnation: number;
  code: string;
  message: string;
  console_tail?: string;
};
/** The host holds nothing of this incarnation any more (not found counts), and refuses to start it again. */
export type Released = ReportOrigin & { type: 'RELEASED'; incarnation: number };
/** The incarnation is frozen into files of its host, which holds nothing else of it any more. */
export type VmPaused = ReportOrigin & {
  type: 'VM_PAUSED';
  incarnation: number;
  snapshot: SnapshotInfo | null;
  timings_ms: Record<string, number>;
};
/** The VM runs on. */
export type PauseFailed = { type: 'PAUSE_FAILED'; incarnation: number; code: string; message: string };
/** Result of `vm.snapshot` and `vm.fork`: the files are whole and durable. */
export type Branched = { type: 'BRANCHED'; incarnation: number; snapshot: SnapshotInfo };
/** No snapshot; nothing else has changed. */
export type BranchFailed = { type: 'BRANCH_FAILED'; incarnation: number; code: string; message: string };
/** A pause or destroy "if idle" refused: there was activity `idle_ms` ago. */
export type Active = { type: 'ACTIVE'; incarnation: number; idle_ms: number };

/** What a host says when asked (`vm.inspect`) or when it comes back. `incarnation` 0 = it knows none. */
export type VmFacts = ReportOrigin & {
  incarnation: number;
  status: VmStatus;
  code?: string;
  message?: string;
  retryable?: boolean;
  host_ip?: string;
  guest_ip?: string;
  timings_ms?: Record<string, number>;
  console_tail?: string;
  /** Of a paused one. */
  snapshot?: SnapshotInfo;
};
export type Inspected = VmFacts & { type: 'INSPECTED' };
export type HostLost = { type: 'HOST_LOST'; host_id: string };
/** From every inventory of the host: after its return, and every sweep. Harmless where it tells nothing new. */
export type HostBack = VmFacts & { type: 'HOST_BACK'; host_id: string };
export type HostDeleted = { type: 'HOST_DELETED'; host_id: string };

export type SandboxCommand =
  | SandboxCreate
  | SandboxDestroy
  | SandboxPatch
  | SandboxPing
  | SandboxPause
  | SandboxResume
  | SandboxSnapshot
  | SandboxFork;
export type SandboxEvent =
  | SandboxCommand
  | Reserved
  | PlaceFailed
  | VmReady
  | VmFailed
  | VmDied
  | VmPaused
  | PauseFailed
  | Branched
  | BranchFailed
  | Released
  | Active
  | Inspected
  | HostLost
  | HostBack
  | HostDeleted;
export type StampedSandboxEvent = Stamped<SandboxEvent & DomainEvent>;

/** Statuses as the API shows them (spec §0). */
export type SandboxStatus =
  | 'pending'
  | 'starting'
  | 'running'
  | 'pausing'
  | 'paused'
  | 'resuming'
  | 'missing'
  | 'stopping'
  | 'stopped'
  | 'error';

/** Who wants it paused: somebody, or a timer. */
export type PauseCause = 'request' | 'idle' | 'lifetime';

/** What is being made of it; the region `operation` says how far. */
export type Operation = {
  type: 'snapshotting' | 'forking';
  snapshot_id: string;
  /** Of a snapshot that people name; empty for a fork. */
  name: string;
  created_by: string;
  children: ForkChild[];
  /** Message id of the command. */
  waiter: string;
};

export type SandboxContext = {
  sandbox_id: string;
  spec: SandboxSpec;
  created_at: number;
  status: SandboxStatus;
  status_since: number;
  /** Number of the present or last start, from 1 (I1). A paused one is resumed by a later start. */
  incarnation: number;
  host_id: string | null;
  host_ip: string | null;
  guest_ip: string | null;
  /** Hosts that failed to start it. */
  excluded_hosts: string[];
  /** How often the host said "still starting" at the deadline of a start. */
  extensions: number;
  /** Last position seen in the journal of its host's agent. */
  seen: { store_id: string; cursor: number } | null;
  started_at: number | null;
  last_active_at: number | null;
  timings_ms: Record<string, number>;
  reason: Reason | null;
  console_tail: string | null;
  /** Its host was lost and has not come back; a paused one is then shown as unreachable. */
  away: boolean;
  /** What `missing` does not know the outcome of. */
  doing: SandboxStatus;
  /** The incarnation whose snapshot its host keeps for it; 0 = none. Kept until a later one is paused (SN5). */
  paused_incarnation: number;
  /** Sizes of that snapshot. */
  snapshot: SnapshotInfo | null;
  paused_at: number | null;
  pause_cause: PauseCause;
  /** Pauses by timer that have failed since it was last paused or active. */
  pause_failures: number;
  operation: Operation | null;
  /** It has told the fork that made it how its start came out. */
  settled: boolean;
  /** No host can hold anything of it: never placed, released, or its host was deleted. */
  released: boolean;
  /** Where `stopping` leads. */
  stop_as: 'stopped' | 'error';
  /** Message ids of commands that have no answer yet. */
  create_waiter: string | null;
  destroy_waiters: string[];
  pause_waiters: string[];
  resume_waiters: string[];
};
export type SandboxInput = { sandbox_id: string; event: SandboxCreate; meta: EventMeta };

import type { DomainEvent, EventMeta, Stamped } from '@wrenn/core';
import type { VmStatus } from '../vm/events.ts';

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
  access_token: string;
  traffic_token: string;
  /** Id of the user or key that made it. */
  created_by: string;
};

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
};
export type SandboxPing = { type: 'PING' };

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
/** `vm.idle_check` refused: there was activity `idle_ms` ago. */
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
};
export type Inspected = VmFacts & { type: 'INSPECTED' };
export type HostLost = { type: 'HOST_LOST'; host_id: string };
/** From every inventory of the host: after its return, and every sweep. Harmless where it tells nothing new. */
export type HostBack = VmFacts & { type: 'HOST_BACK'; host_id: string };
export type HostDeleted = { type: 'HOST_DELETED'; host_id: string };

export type SandboxCommand = SandboxCreate | SandboxDestroy | SandboxPatch | SandboxPing;
export type SandboxEvent =
  | SandboxCommand
  | Reserved
  | PlaceFailed
  | VmReady
  | VmFailed
  | VmDied
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

export type SandboxContext = {
  sandbox_id: string;
  spec: SandboxSpec;
  created_at: number;
  status: SandboxStatus;
  status_since: number;
  /** Number of the present or last start, from 1 (I1). */
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
  /** Its host was lost and has not come back. */
  away: boolean;
  /** No host can hold anything of it: never placed, released, or its host was deleted. */
  released: boolean;
  /** Where `stopping` leads. */
  stop_as: 'stopped' | 'error';
  /** Message ids of commands that have no answer yet. */
  create_waiter: string | null;
  destroy_waiters: string[];
};
export type SandboxInput = { sandbox_id: string; event: SandboxCreate; meta: EventMeta };

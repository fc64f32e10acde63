import type { ActorView, Json, Projection } from '@wrenn/core';
import type { SandboxContext, SandboxStatus } from './events.ts';

/** Columns of the table `sandboxes`, in the order of the REST object (API1). Destroyed sandboxes stay as `stopped`. */
export const SANDBOX_COLUMNS = [
  'id', // text, key
  'team_id', // text
  'status', // text
  'status_since', // timestamptz
  'reason', // jsonb {code, message} or null
  'template', // text
  'vcpus', // integer
  'memory_mb', // integer
  'disk_size_mb', // integer
  'timeout_sec', // integer
  'on_timeout', // text
  'ends_at', // timestamptz or null
  'on_end', // text
  'labels', // jsonb object
  'public_ports', // jsonb array or "all"
  'auto_resume', // boolean
  'host_id', // text or null
  'host_ip', // text or null
  'guest_ip', // text or null
  'incarnation', // integer
  'access_token', // text, secret
  'traffic_token', // text, secret
  'created_by', // text
  'created_at', // timestamptz
  'started_at', // timestamptz or null
  'last_active_at', // timestamptz or null
  'paused_at', // timestamptz or null
  'snapshot_memory_bytes', // bigint or null: what the last pause holds on its host (FS6)
  'snapshot_disk_bytes', // bigint or null
  'unreachable', // boolean: paused on a host that is away (H4)
  'operation', // text: none, snapshotting or forking
  'operation_snapshot_id', // text or null: what is being made
  'seq', // bigint
] as const;

type Row = Record<(typeof SANDBOX_COLUMNS)[number], Json>;

/** Milliseconds since 1970 as `timestamptz` takes them. */
const time = (ms: number | null): string | null => (ms === null ? null : new Date(ms).toISOString());

/** What the API shows as `status` (spec §0). */
export function status(view: ActorView<SandboxContext>): SandboxStatus {
  return view.context.status;
}

/** The host may hold a VM of it, so that its reservation stands (I6). */
export function holdsVm(view: ActorView<SandboxContext>): boolean {
  return view.tags.includes('holds-vm');
}

function row(view: ActorView<SandboxContext>): Row {
  const { context } = view;
  const { spec } = context;
  return {
    id: context.sandbox_id,
    team_id: spec.team_id,
    status: context.status,
    status_since: time(context.status_since),
    reason: context.reason,
    template: spec.template,
    vcpus: spec.vcpus,
    memory_mb: spec.memory_mb,
    disk_size_mb: spec.disk_size_mb,
    timeout_sec: spec.timeout_sec,
    on_timeout: spec.on_timeout,
    ends_at: time(spec.ends_at),
    on_end: spec.on_end,
    labels: spec.labels,
    public_ports: spec.public_ports,
    auto_resume: spec.auto_resume,
    host_id: context.host_id,
    host_ip: context.host_ip,
    guest_ip: context.guest_ip,
    incarnation: context.incarnation,
    access_token: spec.access_token,
    traffic_token: spec.traffic_token,
    created_by: spec.created_by,
    created_at: time(context.created_at),
    started_at: time(context.started_at),
    last_active_at: time(context.last_active_at),
    paused_at: time(context.paused_at),
    snapshot_memory_bytes: context.snapshot?.memory_bytes ?? null,
    snapshot_disk_bytes: context.snapshot?.disk_bytes ?? null,
    unreachable: context.status === 'paused' && context.away,
    operation: context.operation?.type ?? 'none',
    operation_snapshot_id: context.operation?.snapshot_id ?? null,
    seq: view.seq,
  };
}

export const projections: readonly Projection<SandboxContext>[] = [
  { table: 'sandboxes', key: ['id'], columns: SANDBOX_COLUMNS, upsert: (view) => [row(view)] },
  {
    // Inserted by the transaction that places the sandbox, together with the check of the host's capacity.
    table: 'reservations',
    key: ['sandbox_id'],
    columns: ['sandbox_id'],
    remove: (view) => (holdsVm(view) ? [] : [{ sandbox_id: view.context.sandbox_id }]),
  },
];

import type { ActorView, Json, Projection } from '@wrenn/core';
import type { HostContext, HostStatus } from './events.ts';

/** Columns of the table `hosts`. Deleted hosts stay as rows that old sandboxes refer to. */
export const HOST_COLUMNS = [
  'id', // text, key
  'team_id', // text or null (platform host)
  'name', // text
  'status', // text
  'status_since', // timestamptz
  'address', // text or null
  'tags', // jsonb array of text
  'specs', // jsonb or null
  'vcpus', // integer, capacity; 0 until registered
  'memory_mb', // integer, capacity; 0 until registered
  'vmm', // text or null
  'agent_version', // text or null
  'store_id', // text or null
  'cursor', // bigint
  'vms', // integer, as the last heartbeat said
  'load', // jsonb object
  'orphans', // jsonb array of { sandbox_id, incarnation, since }
  'last_heartbeat_at', // timestamptz or null
  'credentials_expire_at', // timestamptz or null
  'cert_fingerprint', // text or null
  'cert_expires_at', // timestamptz or null
  'created_by', // text
  'created_at', // timestamptz
  'registered_at', // timestamptz or null
  'seq', // bigint
] as const;

type Row = Record<(typeof HOST_COLUMNS)[number], Json>;

/** Milliseconds since 1970 as `timestamptz` takes them. */
const time = (ms: number | null): string | null => (ms === null ? null : new Date(ms).toISOString());

/** What the API shows as `status` (spec §0). A lost host is `unreachable`, draining or not. */
export function status({ context }: { readonly context: HostContext }): HostStatus {
  if (context.deleted) return 'deleted';
  if (context.registered_at === null) return 'pending';
  if (context.lost) return 'unreachable';
  return context.draining || context.evicting ? 'draining' : 'online';
}

function row(view: ActorView<HostContext>): Row {
  const { context } = view;
  const { specs, credentials } = context;
  return {
    id: context.host_id,
    team_id: context.team_id,
    name: context.name,
    status: status(view),
    status_since: time(context.status_since),
    address: context.address,
    tags: context.tags,
    specs,
    vcpus: specs?.vcpus ?? 0,
    memory_mb: specs?.memory_mb ?? 0,
    vmm: specs?.vmm ?? null,
    agent_version: specs?.agent_version ?? null,
    store_id: context.store_id,
    cursor: context.cursor,
    vms: context.vms,
    load: context.load,
    orphans: context.orphans.map(({ since, ...orphan }) => ({ ...orphan, since: time(since) })),
    last_heartbeat_at: time(context.last_heartbeat_at),
    credentials_expire_at: time(credentials?.expires_at ?? null),
    cert_fingerprint: credentials?.cert_fingerprint ?? null,
    cert_expires_at: time(credentials?.cert_expires_at ?? null),
    created_by: context.created_by,
    created_at: time(context.created_at),
    registered_at: time(context.registered_at),
    seq: view.seq,
  };
}

export const projections: readonly Projection<HostContext>[] = [
  { table: 'hosts', key: ['id'], columns: HOST_COLUMNS, upsert: (view) => [row(view)] },
];

import type { ActorView, Json, Projection } from '@wrenn/core';
import type { SnapshotContext } from './events.ts';

/** Columns of a snapshot's row in the table `templates`. */
export const TEMPLATE_COLUMNS = [
  'id', // text, key: the snapshot's
  'team_id', // text
  'name', // text, unique per team
  'type', // text: snapshot
  'state', // text: ready (the route that claims a name writes `making`)
  'vcpus', // integer
  'memory_mb', // integer
  'disk_size_mb', // integer
  'size_bytes', // bigint or null: allocated (FS6)
  'memory_bytes', // bigint or null
  'host_id', // text
  'sandbox_id', // text: what it was made of
  'created_by', // text
  'created_at', // timestamptz
] as const;

type Row = Record<(typeof TEMPLATE_COLUMNS)[number], Json>;

const isTemplate = ({ context, path }: ActorView<SnapshotContext>) =>
  context.purpose === 'template' && path === 'ready';

const isOver = ({ path }: ActorView<SnapshotContext>) => ['deleting', 'lingering', 'deleted'].includes(path);

function row({ context }: ActorView<SnapshotContext>): Row {
  const { info } = context;
  return {
    id: context.snapshot_id,
    team_id: context.team_id,
    name: context.name,
    type: 'snapshot',
    state: 'ready',
    vcpus: context.vcpus,
    memory_mb: context.memory_mb,
    disk_size_mb: context.disk_size_mb,
    size_bytes: info && info.memory_bytes + info.disk_bytes,
    memory_bytes: info?.memory_bytes ?? null,
    host_id: context.host_id,
    sandbox_id: context.sandbox_id,
    created_by: context.created_by,
    created_at: new Date(context.created_at).toISOString(),
  };
}

export const projections: readonly Projection<SnapshotContext>[] = [
  {
    table: 'templates',
    key: ['id'],
    columns: TEMPLATE_COLUMNS,
    upsert: (view) => (isTemplate(view) ? [row(view)] : []),
    // Also the row by which its name was claimed, where it was not made.
    remove: (view) => (isOver(view) ? [{ id: view.context.snapshot_id }] : []),
  },
];

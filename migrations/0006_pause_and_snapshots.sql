-- Paused sandboxes, snapshots and forks. Columns of projections: actors/src/sandbox/project.ts, actors/src/snapshot/project.ts.
alter table sandboxes
  add column paused_at timestamptz,
  add column snapshot_memory_bytes bigint,
  add column snapshot_disk_bytes bigint,
  add column unreachable boolean not null default false,
  add column operation text not null default 'none',
  add column operation_snapshot_id text;
create index sandboxes_by_operation on sandboxes (operation_snapshot_id) where operation_snapshot_id is not null;

alter table templates
  -- making: its name is claimed, by a request whose sandbox is asked for the snapshot; shown and usable when ready
  add column state text not null default 'ready' check (state in ('making', 'ready')),
  -- of a snapshot: the host on which it lies
  add column host_id text,
  add column memory_bytes bigint,
  -- of a snapshot: what it was made of
  add column sandbox_id text,
  add column created_by text;
create index templates_by_host on templates (host_id) where host_id is not null;

-- What the API reads of the fleet. `sandboxes` and `hosts` are projections of their actors (actors/src/*/project.ts):
-- written in the commit of each transition and by nobody else. They have no foreign keys: one row that fails would fail
-- the whole group commit.

create table templates (
  id text primary key,
  team_id text not null,
  name text not null,
  -- base: a root file system that boots cold; snapshot: a frozen VM that resumes
  type text not null check (type in ('base', 'snapshot')),
  -- null: chosen at create (base); else fixed by the frozen VM (SN9)
  vcpus integer,
  memory_mb integer,
  disk_size_mb integer not null,
  size_bytes bigint,
  created_at timestamptz not null default now(),
  unique (team_id, name)
);

-- The platform team's `minimal` (TPL7); every agent has its image.
insert into templates (id, team_id, name, type, disk_size_mb)
values ('tpl-minimal', '00000000-0000-0000-0000-000000000000', 'minimal', 'base', 20480);

create table hosts (
  id text primary key,
  team_id text, -- null: platform host
  name text not null,
  status text not null,
  status_since timestamptz not null,
  address text,
  tags jsonb not null default '[]',
  specs jsonb,
  vcpus integer not null default 0,
  memory_mb integer not null default 0,
  vmm text,
  agent_version text,
  store_id text,
  cursor bigint not null default 0,
  vms integer not null default 0,
  load jsonb not null default '{}',
  orphans jsonb not null default '[]',
  last_heartbeat_at timestamptz,
  credentials_expire_at timestamptz,
  cert_fingerprint text,
  cert_expires_at timestamptz,
  created_by text not null,
  created_at timestamptz not null,
  registered_at timestamptz,
  seq bigint not null
);
create index hosts_by_team on hosts (team_id, created_at, id);

-- Capacity used on a host is the sum of its rows (I6). Inserted by the transaction that places a sandbox, after the host's
-- row was locked and the sum checked; removed by the commit in which the sandbox lets go of its VM.
create table reservations (
  sandbox_id text primary key,
  host_id text not null,
  incarnation integer not null,
  vcpus integer not null,
  memory_mb integer not null,
  created_at timestamptz not null default now()
);
create index reservations_by_host on reservations (host_id) include (vcpus, memory_mb);

create table sandboxes (
  id text primary key,
  team_id text not null,
  status text not null,
  status_since timestamptz not null,
  reason jsonb,
  template text not null,
  vcpus integer not null,
  memory_mb integer not null,
  disk_size_mb integer not null,
  timeout_sec integer not null,
  on_timeout text not null,
  ends_at timestamptz,
  on_end text,
  labels jsonb not null default '{}',
  public_ports jsonb,
  auto_resume boolean not null default false,
  host_id text,
  host_ip text,
  guest_ip text,
  incarnation integer not null default 0,
  access_token text not null,
  traffic_token text not null,
  created_by text not null,
  created_at timestamptz not null,
  started_at timestamptz,
  last_active_at timestamptz,
  seq bigint not null
);
create index sandboxes_by_team on sandboxes (team_id, created_at desc, id desc);
create index sandboxes_by_host on sandboxes (host_id) where status not in ('stopped', 'error');

-- What agents tell of their `vm` actors, kept for the inspector (API11). Copies: the agent's own journal is the truth, and
-- the sandbox's actor hears of it by messages of its own.

-- How far a host's journal was read; a replica that takes the host over goes on from here.
create table host_watches (
  host_id text primary key,
  store_id text not null,
  cursor bigint not null,
  updated_at timestamptz not null default now()
);

-- Present state of each `vm` actor, folded from its entries.
create table vm_mirrors (
  id text primary key, -- <sandbox id>.<incarnation>
  host_id text not null,
  sandbox_id text not null,
  team_id text,
  state jsonb not null,
  path text not null,
  context jsonb not null,
  seq bigint not null,
  machine_version integer not null,
  done boolean not null,
  created_at timestamptz not null,
  since timestamptz not null,
  updated_at timestamptz not null
);
create index vm_mirrors_by_sandbox on vm_mirrors (sandbox_id);
create index vm_mirrors_by_team on vm_mirrors (team_id, id);
create index vm_mirrors_by_age on vm_mirrors (updated_at) where done;

-- Entries as core's JournalEntry has them, without cursor (it is the agent's own).
create table vm_journal (
  id text not null,
  seq bigint not null,
  at timestamptz not null,
  entry jsonb not null,
  primary key (id, seq)
);
create index vm_journal_by_age on vm_journal (at);

-- The inspector's feed reads the copies of hosts' journals as it reads the control plane's own: by (transaction, place), up
-- to the oldest transaction that still runs, so that a viewer that resumes by a cursor misses nothing.
-- From here on `entry` also has `cursor`, the place in the agent's own journal, by which reports are told apart.
alter table vm_journal
  add column xid xid8 not null default pg_current_xact_id(),
  add column place bigint not null generated always as identity;
create index vm_journal_feed on vm_journal (xid, place);

-- Every version of a machine that has run on this database, as data: journals outlive the versions that wrote them.
create table machines (
  kind text not null,
  version integer not null,
  data jsonb not null,
  first_seen_at timestamptz not null default now(),
  primary key (kind, version)
);

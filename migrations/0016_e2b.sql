-- What E2B's surface knows of a sandbox beyond our own fields (gateway/src/e2b). Written before the sandbox is made; a row
-- without its sandbox is one whose create failed. That there is a row says that it was made through that surface.
create table e2b_sandboxes (
  sandbox_id text primary key,
  team_id text not null,
  -- any names and values, unlike labels
  metadata jsonb not null default '{}',
  -- the template as it was asked for
  template text not null,
  -- as it was sent: allowOut, denyOut, allowPublicTraffic, maskRequestHost …
  network jsonb not null default '{}',
  allow_internet boolean,
  -- shown to the guest as `Host`; ${PORT} stands for the port
  mask_host text,
  created_at timestamptz not null default now()
);
create index e2b_sandboxes_by_metadata on e2b_sandboxes using gin (metadata jsonb_path_ops);

-- Sandboxes whose egress policy was changed and may not be in force on their host yet (NET4). A row goes when the host has
-- confirmed it, or when there is nothing to confirm; until then the control plane repeats it.
create table egress_changes (
  sandbox_id text primary key,
  -- of the last change, so that an older one that is done does not take a newer one's row away
  change uuid not null,
  -- of the change, or of the last time that it was tried
  noted_at timestamptz not null default now()
);
create index egress_changes_noted_at on egress_changes (noted_at);

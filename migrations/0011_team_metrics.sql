-- What each team had at a moment (MET1), every 10 s; a team without sandboxes has no rows, but for the one that says zero.
create table team_metrics (
  at timestamptz not null,
  team_id text not null,
  running integer not null,
  vcpus integer not null,
  memory_mb integer not null,
  primary key (team_id, at)
);
create index team_metrics_by_time on team_metrics (at);

-- The durable actor runtime (core/). One row of `actors` is one machine; every other row here was written in the commit of
-- the transition that caused it. Times are milliseconds since 1970 by this database's clock.

-- Which replica runs which actors. Actors hash to partitions; a partition's epoch comes from one global sequence and fences
-- the writes and effects of an owner that lost it.
create sequence partition_epochs;

create table replicas (
  id          text primary key,
  -- Held as a session advisory lock while the replica lives: whoever can take it knows that the replica is dead.
  lock_key    bigint not null,
  -- Only for a replica that hangs with its session open.
  lease_until timestamptz not null,
  address     text,
  started_at  timestamptz not null default clock_timestamp()
);

create table partitions (
  id    int primary key,
  owner text,
  epoch bigint not null default 0
);
insert into partitions (id) select generate_series(0, 15);

create table actors (
  kind            text not null,
  id              text not null,
  partition       int not null,
  seq             bigint not null,
  machine_version int not null,
  state           jsonb not null,
  path            text not null,
  tags            text[] not null,
  snapshot        jsonb not null,
  ledger          jsonb not null,
  team_id         text,
  created_at      bigint not null,
  since           bigint not null,
  updated_at      bigint not null,
  done            boolean not null,
  primary key (kind, id)
) with (fillfactor = 70);
create index actors_by_state on actors (kind, path, since);
create index actors_by_team on actors (team_id, kind, id) where team_id is not null;

-- The journal, and the feed of console, audit and webhooks. `place` alone becomes visible out of order: readers go by
-- (xid, place) and stop below the oldest transaction that is still running.
create table actor_events (
  kind            text not null,
  id              text not null,
  seq             bigint not null,
  at              bigint not null,
  outcome         text not null,
  event           jsonb not null,
  message_id      text not null,
  cause           jsonb not null,
  effect_key      text,
  from_state      jsonb,
  to_state        jsonb,
  path            text not null,
  diff            jsonb not null,
  machine_version int not null,
  team_id         text,
  xid             xid8 not null default pg_current_xact_id(),
  place           bigint not null generated always as identity,
  primary key (kind, id, seq)
);
create index actor_events_feed on actor_events (xid, place);

-- What must be done outside. A row is deleted when its effect is closed; the journal tells how it ended.
create table actor_effects (
  kind            text not null,
  id              text not null,
  number          bigint not null,
  partition       int not null,
  name            text not null,
  node            text not null,
  visit           bigint not null,
  input           jsonb not null,
  opened_at       bigint not null,
  attempts        int not null default 0,
  next_attempt_at bigint,
  last_error      jsonb,
  status          text not null default 'open',
  primary key (kind, id, number)
);
create index actor_effects_by_partition on actor_effects (partition);

create table actor_timers (
  kind      text not null,
  id        text not null,
  name      text not null,
  partition int not null,
  visit     bigint not null,
  delay     text not null,
  node      text not null,
  due_at    bigint not null,
  primary key (kind, id, name)
);
create index actor_timers_due on actor_timers (partition, due_at);

-- Messages on their way to an actor that is not in the sender's hands: from other actors, and from replicas that do not own
-- the receiver. Deleted by the commit that accepts them.
create table actor_outbox (
  place      bigint primary key generated always as identity,
  message_id text not null,
  to_kind    text not null,
  to_id      text not null,
  partition  int not null,
  event      jsonb not null,
  cause      jsonb not null,
  effect_key text,
  asked      boolean not null,
  unique (to_kind, to_id, message_id)
);
create index actor_outbox_by_partition on actor_outbox (partition, place);

-- Every message that was accepted: the same one again gets the first answer.
create table actor_inbox (
  kind       text not null,
  id         text not null,
  message_id text not null,
  primary key (kind, id, message_id)
);

create table actor_answers (
  kind       text not null,
  id         text not null,
  message_id text not null,
  answer     jsonb not null,
  primary key (kind, id, message_id)
);

-- Messages that could be neither applied nor stored, with the reason: put aside so that what follows them goes on.
create table actor_parked (
  place      bigint primary key generated always as identity,
  kind       text not null,
  id         text not null,
  message_id text not null,
  event      text not null,
  cause      text not null,
  error      jsonb not null,
  parked_at  timestamptz not null default clock_timestamp()
);

-- The append-only trail (AUD1), written in the transaction of what it records: by transitions, and by routes for what no
-- actor does.
create table audit_logs (
  id            text primary key default 'log-' || replace(gen_random_uuid()::text, '-', ''),
  at            timestamptz not null default clock_timestamp(),
  team_id       text,
  scope         text not null check (scope in ('team', 'admin')),
  actor_type    text not null,
  actor_id      text,
  actor_name    text,
  action        text not null,
  resource_type text not null,
  resource_id   text,
  status        text not null check (status in ('success', 'info', 'warning', 'error')),
  metadata      jsonb not null default '{}'
);
create index audit_logs_by_team on audit_logs (team_id, at desc, id desc);
create index audit_logs_by_time on audit_logs (at desc, id desc);

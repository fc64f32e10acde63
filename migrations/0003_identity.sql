-- People, teams, keys and sessions (ID1–ID5), and the credentials of hosts (H2). Secrets are stored as hashes, except
-- `control_plane_secret`, which the control plane itself must present.

create table users (
  id text primary key,
  email text not null,
  name text not null,
  -- argon2id; null: signs in by OAuth only
  password_hash text,
  is_admin boolean not null default false,
  created_at timestamptz not null default now()
);
create unique index users_by_email on users (lower(email));

create table teams (
  id text primary key,
  name text not null,
  is_byoc boolean not null default false,
  created_at timestamptz not null default now(),
  deleted_at timestamptz
);
insert into teams (id, name) values ('00000000-0000-0000-0000-000000000000', 'Platform');

create table team_members (
  team_id text not null references teams (id),
  user_id text not null references users (id),
  role text not null check (role in ('owner', 'admin', 'member')),
  -- where the person lands after signing in
  is_default boolean not null default false,
  created_at timestamptz not null default now(),
  primary key (team_id, user_id)
);
create index team_members_by_user on team_members (user_id);
create unique index team_members_one_owner on team_members (team_id) where role = 'owner';

create table sessions (
  id text primary key,
  user_id text not null references users (id),
  created_at timestamptz not null default now(),
  expires_at timestamptz not null,
  revoked_at timestamptz
);
create index sessions_by_user on sessions (user_id);
create index sessions_by_expiry on sessions (expires_at);

create table api_keys (
  id text primary key,
  team_id text not null references teams (id),
  name text not null,
  -- SHA-256 of the 32 hex digits: `wrn_` and `e2b_` are two spellings of one key
  hash bytea not null unique,
  -- the first digits, to recognise it by
  prefix text not null,
  created_by text not null,
  created_at timestamptz not null default now(),
  expires_at timestamptz,
  last_used_at timestamptz,
  revoked_at timestamptz
);
create index api_keys_by_team on api_keys (team_id, created_at desc, id desc);

-- What single platform admins may not do; all is allowed by default (ID5).
create table admin_permissions (
  user_id text not null references users (id),
  permission text not null,
  allowed boolean not null,
  primary key (user_id, permission)
);

-- One row per registered host; a new registration makes a new family, so that tokens of an earlier one are worthless.
create table host_credentials (
  host_id text primary key,
  family text not null,
  control_plane_secret text not null,
  created_at timestamptz not null default now(),
  revoked_at timestamptz
);

create table host_refresh_tokens (
  hash bytea primary key,
  host_id text not null references host_credentials (host_id),
  family text not null,
  created_at timestamptz not null default now(),
  expires_at timestamptz not null,
  -- set when its successor was issued: whoever shows it after that reuses it
  revoked_at timestamptz,
  -- digest of the caller's idempotency key: a retry whose answer was lost is told from reuse by it
  rotation_key bytea
);
create index host_refresh_tokens_by_host on host_refresh_tokens (host_id);

import type { DomainEvent, EventMeta, Stamped } from '@wrenn/core';

/** What the machine offers; `vcpus` and `memory_mb` are the capacity for reservations. */
export type HostSpecs = {
  vcpus: number;
  memory_mb: number;
  disk_mb: number;
  arch: string;
  vmm: string;
  vmm_version: string;
  agent_version: string;
  /** Root file system store: `qcow2`, `dm-snapshot`, … */
  store: string;
};

/** No secret is in it: hashes live in `host_credentials`. Times are milliseconds since 1970. */
export type HostCredentials = {
  /** The host's token is due for renewal then (before it expires). */
  renew_at: number;
  /** Neither token nor refresh token is good after this. */
  expires_at: number;
  cert_fingerprint: string | null;
  cert_expires_at: number | null;
};

/** `team_id` null = a platform host. Answered at once. */
export type HostCreate = { type: 'CREATE'; team_id: string | null; name: string; tags: string[]; created_by: string };
/** A new registration token is out; the time of the pending host starts anew. */
export type HostNewToken = { type: 'NEW_TOKEN' };
export type HostDrain = { type: 'DRAIN' };
export type HostUndrain = { type: 'UNDRAIN' };
export type HostSetTags = { type: 'SET_TAGS'; tags: string[] };
/** Answered later: at `deleted`, or refused with `host_not_empty` (details `{sandbox_ids}`) where not forced (H6). */
export type HostDelete = { type: 'DELETE'; force: boolean };

export type HostRegistered = {
  type: 'REGISTERED';
  address: string;
  specs: HostSpecs;
  credentials: HostCredentials;
  store_id?: string | null;
};
export type HostHeartbeat = {
  type: 'HEARTBEAT';
  store_id: string;
  cursor: number;
  /** Number of live VMs on the host. */
  vms: number;
  load: Record<string, number>;
  /** With the first one after the agent's start: what it offers may be something else than at the registration. */
  specs?: HostSpecs | undefined;
};
/** A VM that no sandbox owns. */
export type Orphan = { sandbox_id: string; incarnation: number };
export type CredentialsRenewed = { type: 'CREDENTIALS_RENEWED'; credentials: HostCredentials };
export type CredentialsRevoked = { type: 'CREDENTIALS_REVOKED' };
export type LostTold = { type: 'LOST_TOLD' };
/** `orphans`: VMs there that no sandbox owns. `ended`: those of them that were made to end, their grace time being over. */
export type Inventoried = { type: 'INVENTORIED'; orphans: Orphan[]; ended: Orphan[] };
export type InventoryFailed = { type: 'INVENTORY_FAILED'; code: string; message: string };
export type Evicted = { type: 'EVICTED' };
export type EvictRefused = { type: 'EVICT_REFUSED'; sandbox_ids: string[] };

export type HostCommand = HostCreate | HostNewToken | HostDrain | HostUndrain | HostSetTags | HostDelete;
export type HostEvent =
  | HostCommand
  | HostRegistered
  | HostHeartbeat
  | CredentialsRenewed
  | CredentialsRevoked
  | LostTold
  | Inventoried
  | InventoryFailed
  | Evicted
  | EvictRefused;
export type StampedHostEvent = Stamped<HostEvent & DomainEvent>;

/** Statuses as the API shows them (spec §0), and `deleted` for rows that are kept for reference. */
export type HostStatus = 'pending' | 'online' | 'unreachable' | 'draining' | 'deleted';

export type HostContext = {
  host_id: string;
  team_id: string | null;
  name: string;
  tags: string[];
  created_by: string;
  created_at: number;
  registered_at: number | null;
  address: string | null;
  specs: HostSpecs | null;
  credentials: HostCredentials | null;
  store_id: string | null;
  cursor: number;
  vms: number;
  load: Record<string, number>;
  last_heartbeat_at: number | null;
  /** With the time at which each was first seen. */
  orphans: (Orphan & { since: number })[];
  /** What the status follows from; `status_since` is when it last changed. */
  lost: boolean;
  draining: boolean;
  evicting: boolean;
  deleted: boolean;
  status_since: number;
  delete_force: boolean;
  delete_waiters: string[];
};
export type HostInput = { host_id: string; event: HostCreate; meta: EventMeta };

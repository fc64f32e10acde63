/** Names of the Connect protocol's codes (connectrpc.com/docs/protocol, "Error codes"). */
type ConnectCode =
  | 'invalid_argument'
  | 'unauthenticated'
  | 'permission_denied'
  | 'not_found'
  | 'already_exists'
  | 'failed_precondition'
  | 'aborted'
  | 'out_of_range'
  | 'resource_exhausted'
  | 'unavailable'
  | 'deadline_exceeded'
  | 'canceled'
  | 'unimplemented'
  | 'internal'
  | 'data_loss';

interface ErrorKind {
  readonly status: number;
  readonly connect: ConnectCode;
  /** The same request may succeed later without any change. */
  readonly retryable: boolean;
}

const kind = (status: number, connect: ConnectCode, retryable = false): ErrorKind => ({ status, connect, retryable });

/** The one table of error codes: code → HTTP status → Connect code → retryable. A code is public and never renamed. */
export const errorCodes = {
  // the request
  bad_request: kind(400, 'invalid_argument'),
  invalid_id: kind(400, 'invalid_argument'),
  out_of_range: kind(400, 'out_of_range'),
  unauthorized: kind(401, 'unauthenticated'),
  invalid_token: kind(401, 'unauthenticated'),
  forbidden: kind(403, 'permission_denied'),
  not_found: kind(404, 'not_found'),
  template_not_found: kind(404, 'not_found'),
  method_not_allowed: kind(405, 'unimplemented'),
  payload_too_large: kind(413, 'resource_exhausted'),
  output_too_large: kind(413, 'resource_exhausted'),
  unsupported_media_type: kind(415, 'invalid_argument'),
  upgrade_required: kind(426, 'failed_precondition'),
  rate_limited: kind(429, 'resource_exhausted', true),

  // the state of what it is about
  illegal_command: kind(409, 'failed_precondition'),
  already_exists: kind(409, 'already_exists'),
  email_taken: kind(409, 'already_exists'),
  conflict: kind(409, 'aborted'),
  host_not_empty: kind(409, 'failed_precondition'),
  not_running: kind(409, 'failed_precondition'),
  stale_incarnation: kind(409, 'failed_precondition'),
  stale_epoch: kind(409, 'failed_precondition'),
  active: kind(409, 'failed_precondition'),
  gone: kind(410, 'not_found'),
  actor_done: kind(409, 'failed_precondition'),
  cursor_expired: kind(410, 'out_of_range'),

  // capacity and hosts
  no_hosts_available: kind(503, 'resource_exhausted', true),
  host_unreachable: kind(503, 'unavailable', true),
  host_lost: kind(503, 'unavailable', true),
  lost_on_host: kind(410, 'data_loss'),
  unavailable: kind(503, 'unavailable', true),
  disk_full: kind(507, 'resource_exhausted'),

  // virtual machines
  vm_failed: kind(502, 'internal', true),
  vm_died: kind(502, 'internal'),
  vmm_exited: kind(502, 'internal', true),
  boot_timeout: kind(504, 'deadline_exceeded', true),
  start_timeout: kind(504, 'deadline_exceeded', true),
  destroyed: kind(409, 'aborted'),
  released_by_host: kind(410, 'data_loss'),
  host_deleted: kind(410, 'data_loss'),
  host_without_data: kind(503, 'unavailable', true),
  pause_failed: kind(502, 'internal', true),
  snapshot_failed: kind(502, 'internal', true),
  snapshot_damaged: kind(500, 'data_loss'),
  snapshot_incompatible: kind(409, 'failed_precondition'),
  memory_lost: kind(410, 'data_loss'),
  guest_error: kind(502, 'unavailable', true),

  // the runtime
  canceled: kind(499, 'canceled', true),
  timeout: kind(504, 'deadline_exceeded', true),
  given_up: kind(500, 'aborted'),
  not_owner: kind(503, 'unavailable', true),
  machine_error: kind(500, 'internal'),
  not_implemented: kind(501, 'unimplemented'),
  internal: kind(500, 'internal'),
} as const satisfies Record<string, ErrorKind>;

export type ErrorCode = keyof typeof errorCodes;

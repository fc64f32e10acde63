import { Code, ConnectError } from '@connectrpc/connect';
import { errorCodes, isErrorCode, WrennError } from '@wrenn/core';
import { AgentError } from '../errors.ts';
import { GuestError } from '../guest/guest-error.ts';

/** Connect's names of its codes, as core's table has them. */
const CODES: Readonly<Record<string, Code>> = {
  invalid_argument: Code.InvalidArgument,
  unauthenticated: Code.Unauthenticated,
  permission_denied: Code.PermissionDenied,
  not_found: Code.NotFound,
  already_exists: Code.AlreadyExists,
  failed_precondition: Code.FailedPrecondition,
  aborted: Code.Aborted,
  out_of_range: Code.OutOfRange,
  resource_exhausted: Code.ResourceExhausted,
  unavailable: Code.Unavailable,
  deadline_exceeded: Code.DeadlineExceeded,
  canceled: Code.Canceled,
  unimplemented: Code.Unimplemented,
  internal: Code.Internal,
  data_loss: Code.DataLoss,
};

/** Codes of this host alone: what they are to Connect. */
const HOST_CODES: Readonly<Record<string, Code>> = {
  no_slots_available: Code.ResourceExhausted,
  disk_too_small: Code.InvalidArgument,
  incarnation_buried: Code.FailedPrecondition,
  not_paused: Code.FailedPrecondition,
  snapshot_not_found: Code.NotFound,
  guest_unresponsive: Code.Unavailable,
  earlier_incarnation_live: Code.FailedPrecondition,
};

/** envd's HTTP statuses. */
const GUEST_CODES: Readonly<Record<number, Code>> = {
  400: Code.InvalidArgument,
  401: Code.Unauthenticated,
  404: Code.NotFound,
  507: Code.ResourceExhausted,
};

const ERROR_CODE = 'wrenn-error-code';

/** A failure as the contract has it: the stable code and whether another host may succeed travel as metadata. */
export function failure(
  code: string,
  message: string,
  options: { readonly retryable?: boolean; readonly headers?: Record<string, string>; readonly cause?: unknown } = {},
): ConnectError {
  const connect = isErrorCode(code) ? CODES[errorCodes[code].connect] : HOST_CODES[code];
  const headers = new Headers({ ...options.headers, [ERROR_CODE]: code });
  if (options.retryable) headers.set('wrenn-error-retryable', 'true');
  return new ConnectError(message, connect ?? Code.Internal, headers, undefined, options.cause);
}

/** Whatever was thrown while a call was served. What is not known to be fit for others is `internal`. */
export function toConnectError(error: unknown): ConnectError {
  if (error instanceof ConnectError) return error.metadata.has(ERROR_CODE) ? error : fromGuest(error);
  if (error instanceof AgentError)
    return failure(error.code, error.message, { retryable: error.retryable, cause: error });
  if (error instanceof WrennError) return failure(error.code, error.message, { cause: error });
  if (error instanceof GuestError) {
    const headers = new Headers(error.status === 507 ? { [ERROR_CODE]: 'disk_full' } : {});
    return new ConnectError(error.message, GUEST_CODES[error.status] ?? Code.Unavailable, headers, undefined, error);
  }
  if (error instanceof Error && error.name === 'AbortError') return failure('canceled', 'the call was canceled');
  return failure('internal', 'the agent failed', { cause: error });
}

/** envd's own refusals keep their code and words, but not the headers of its answer; a broken connection is ours to name. */
function fromGuest(error: ConnectError): ConnectError {
  const broken = error.cause !== undefined && error.code !== Code.Canceled && error.code !== Code.DeadlineExceeded;
  if (broken) return failure('guest_error', 'the guest does not answer', { retryable: true, cause: error });
  return new ConnectError(error.rawMessage, error.code, undefined, undefined, error);
}

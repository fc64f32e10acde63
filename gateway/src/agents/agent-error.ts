import { Code, ConnectError } from '@connectrpc/connect';
import { type ErrorCode, isErrorCode, type Json, WrennError } from '@wrenn/core';

/** Names the stable code of an agent's own failure: Connect's sixteen are too few to tell these apart. */
export const ERROR_CODE_HEADER = 'wrenn-error-code';
const RETRYABLE_HEADER = 'wrenn-error-retryable';

/** An agent that could not be reached or went away in mid-call: whether the call was done is not known. */
export function hostUnreachable(message: string, cause?: unknown): WrennError {
  return new WrennError('host_unreachable', message, { cause });
}

/** What each of Connect's codes means where the agent named no code of its own. */
const BY_CONNECT_CODE: Readonly<Record<Code, ErrorCode>> = {
  [Code.Canceled]: 'canceled',
  [Code.Unknown]: 'internal',
  [Code.InvalidArgument]: 'bad_request',
  [Code.DeadlineExceeded]: 'timeout',
  [Code.NotFound]: 'not_found',
  [Code.AlreadyExists]: 'already_exists',
  [Code.PermissionDenied]: 'forbidden',
  [Code.ResourceExhausted]: 'unavailable',
  [Code.FailedPrecondition]: 'conflict',
  [Code.Aborted]: 'conflict',
  [Code.OutOfRange]: 'out_of_range',
  [Code.Unimplemented]: 'not_implemented',
  [Code.Internal]: 'internal',
  [Code.Unavailable]: 'host_unreachable',
  [Code.DataLoss]: 'internal',
  [Code.Unauthenticated]: 'unavailable',
};

/** A refusal in the agent's own words: asking again in the same words brings the same answer. */
export interface Refusal {
  /** A row of core's table, or a code of the host alone. */
  readonly code: string;
  readonly message: string;
  /** Another host may succeed. */
  readonly retryable: boolean;
  readonly headers: Headers;
}

/**
 * Null where the agent did not decide: it could not be reached, its connection broke, the call was cut, it does not know
 * yet that this replica owns the actor (`stale_epoch`), or it does not accept our credential now.
 */
export function refusal(error: unknown): Refusal | null {
  if (!(error instanceof ConnectError) || neverAnswered(error)) return null;
  const code = error.metadata.get(ERROR_CODE_HEADER);
  if (code === 'stale_epoch' || UNDECIDED.has(error.code)) return null;
  return {
    code: code ?? BY_CONNECT_CODE[error.code],
    message: error.rawMessage,
    retryable: error.metadata.get(RETRYABLE_HEADER) === 'true',
    headers: error.metadata,
  };
}

const UNDECIDED: ReadonlySet<Code> = new Set([
  Code.Unavailable,
  Code.Canceled,
  Code.Aborted,
  Code.DeadlineExceeded,
  Code.Unauthenticated,
]);

/** The client's library made this error out of a failed connection or a cut call; the agent said nothing. */
function neverAnswered(error: ConnectError): boolean {
  return error.cause !== undefined && error.cause !== null;
}

/** Whatever a call to an agent or through it threw, as an error of ours. */
export function fromAgent(error: unknown, details?: Json): WrennError {
  if (error instanceof WrennError) return error;
  const failure = ConnectError.from(error);
  const options = { cause: error, ...(details !== undefined && { details }) };
  if (failure.code === Code.Canceled) return new WrennError('canceled', 'The call was cancelled.', options);
  if (failure.code === Code.DeadlineExceeded) return new WrennError('timeout', failure.rawMessage, options);
  if (neverAnswered(failure)) return new WrennError('host_unreachable', 'The host cannot be reached.', options);
  const named = failure.metadata.get(ERROR_CODE_HEADER);
  const code = named !== null && isErrorCode(named) ? named : BY_CONNECT_CODE[failure.code];
  const message = code === 'internal' ? 'The host failed.' : failure.rawMessage;
  return new WrennError(code, message, options);
}

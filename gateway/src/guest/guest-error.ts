import { Code, ConnectError } from '@connectrpc/connect';
import { type ErrorCode, isErrorCode, WrennError } from '@wrenn/core';
import { ERROR_CODE_HEADER, fromAgent } from '../agents/agent-error.ts';

/** What envd's Connect codes mean to a caller of the REST API. An unknown user is envd's `unauthenticated`: bad input here. */
const BY_CONNECT_CODE: Readonly<Partial<Record<Code, ErrorCode>>> = {
  [Code.InvalidArgument]: 'bad_request',
  [Code.OutOfRange]: 'bad_request',
  [Code.Unauthenticated]: 'bad_request',
  [Code.NotFound]: 'not_found',
  [Code.AlreadyExists]: 'already_exists',
  [Code.PermissionDenied]: 'forbidden',
  [Code.ResourceExhausted]: 'disk_full',
  [Code.DeadlineExceeded]: 'timeout',
  [Code.Canceled]: 'canceled',
};

/** Whatever a Connect call to envd threw. The agent's front names its own failures, and is told from envd by that. */
export function fromGuest(error: unknown): WrennError {
  if (error instanceof WrennError) return error;
  const failure = ConnectError.from(error);
  if (failure.metadata.has(ERROR_CODE_HEADER) || failure.cause) return fromAgent(failure);
  const code = BY_CONNECT_CODE[failure.code] ?? 'guest_error';
  return new WrennError(code, failure.rawMessage, { cause: error });
}

const BY_STATUS: Readonly<Record<number, ErrorCode>> = {
  400: 'bad_request',
  401: 'bad_request',
  403: 'forbidden',
  404: 'not_found',
  409: 'already_exists',
  416: 'out_of_range',
  507: 'disk_full',
};

/** A failed answer of envd's HTTP endpoints (`{code, message}`) or of the front (header `wrenn-error-code`). */
export function fromGuestResponse(status: number, headerCode: string | undefined, body: string): WrennError {
  const front = headerCode !== undefined;
  if (front && isErrorCode(headerCode)) {
    return new WrennError(headerCode, 'The host does not have this sandbox as it was.', { details: { front } });
  }
  return new WrennError(BY_STATUS[status] ?? 'guest_error', messageOf(body) ?? `The guest answered ${status}.`);
}

function messageOf(body: string): string | null {
  try {
    const parsed: unknown = JSON.parse(body);
    const message = (parsed as { message?: unknown } | null)?.message;
    return typeof message === 'string' ? message : null;
  } catch {
    return null;
  }
}

/** Body of every error answer of the API (spec §6). */
interface ErrorBody {
  readonly error: { readonly code: string; readonly message: string; readonly details?: unknown };
}

/** A request that the API refused or that failed there. `code` is stable; `status` the HTTP status (0: no answer came). */
export class WrennError extends Error {
  readonly code: string;
  readonly status: number;
  readonly details: unknown;

  constructor(code: string, message: string, status: number, details?: unknown, options?: ErrorOptions) {
    super(message, options);
    this.name = new.target.name;
    this.code = code;
    this.status = status;
    this.details = details;
  }
}

/** 400: a field, id or range is wrong; the message names it. */
export class InvalidRequestError extends WrennError {}
/** 401 or 403: the key is missing, wrong, revoked or not allowed to do this. */
export class AuthenticationError extends WrennError {}
/** 404: there is no such sandbox, file or process, or it belongs to another team. */
export class NotFoundError extends WrennError {}
/** 409: not possible in the present state; `details` has the state, since when, and what is legal now. */
export class ConflictError extends WrennError {}
/** 429. */
export class RateLimitError extends WrennError {}
/** 503: no host has room, or the sandbox's host is away. The same request may succeed later. */
export class UnavailableError extends WrennError {}
/** 507: the guest's disk is full. */
export class DiskFullError extends WrennError {}
/** No answer: the control plane could not be reached or the connection was lost. */
export class ConnectionError extends WrennError {}

const BY_STATUS: Readonly<Record<number, typeof WrennError>> = {
  400: InvalidRequestError,
  401: AuthenticationError,
  403: AuthenticationError,
  404: NotFoundError,
  409: ConflictError,
  429: RateLimitError,
  503: UnavailableError,
  507: DiskFullError,
};

/** The typed error of an error answer. Bodies of another shape (a front proxy's page) keep their status. */
export function errorOf(status: number, body: unknown): WrennError {
  const Kind = BY_STATUS[status] ?? WrennError;
  if (isErrorBody(body)) return new Kind(body.error.code, body.error.message, status, body.error.details);
  return new Kind('unexpected_answer', `The server answered ${status}.`, status);
}

function isErrorBody(body: unknown): body is ErrorBody {
  const error = (body as Partial<ErrorBody> | null | undefined)?.error;
  return typeof error?.code === 'string' && typeof error.message === 'string';
}

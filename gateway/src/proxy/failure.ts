import type { Json } from '@wrenn/core';
import { WrennError } from '@wrenn/core';
import { unavailablePage } from './page.ts';

/** Why a request did not reach its port, in the words of our own API and of E2B's wire. */
export class ProxyFailure extends WrennError {
  readonly e2b: E2bFailure;

  constructor(own: WrennError, e2b: E2bFailure) {
    super(own.code, own.message, { details: own.details });
    this.e2b = e2b;
  }
}

/** `{sandboxId, message, port?, code}` with the status `code`. */
export interface E2bFailure {
  readonly code: number;
  readonly message: string;
  readonly sandboxId?: string;
  readonly port?: number;
}

export const failures = {
  malformed: (message: string) => failure('bad_request', message, {}, { code: 400, message }),

  unknown: (sandboxId: string) =>
    failure('not_found', 'No such sandbox.', {}, { code: 502, message: 'The sandbox was not found', sandboxId }),

  /** No credential came. */
  unauthorized: (sandboxId: string, port: number) =>
    failure(
      'unauthorized',
      `Port ${port} is not public: send the team's X-API-Key, the sandbox's traffic token (wrenn-traffic-token), or use a signed link.`,
      { sandbox_id: sandboxId, port },
      { code: 403, message: 'Missing traffic access token', sandboxId, port },
    ),

  /** One came, and it does not open this port. */
  forbidden: (sandboxId: string, port: number, why: string) =>
    failure('forbidden', why, { sandbox_id: sandboxId, port }, { code: 403, message: why, sandboxId, port }),

  notRunning: (sandboxId: string, details: Json, message: string) =>
    failure('not_running', message, details, { code: 502, message: 'The sandbox was not found', sandboxId }),

  /** It is on its way to another state: the same request may succeed in a moment. */
  inTransition: (sandboxId: string, details: Json, message: string) =>
    failure('not_running', message, details, { code: 409, message: 'The sandbox is changing its state', sandboxId }),

  closedPort: (sandboxId: string, port: number) =>
    failure(
      'guest_error',
      `The sandbox is running, but nothing answers on port ${port}.`,
      { state: 'running', sandbox_id: sandboxId, port },
      { code: 502, message: 'The sandbox is running but port is not open', sandboxId, port },
    ),

  /** It was reached, and then the connection went, as when a server does not read an upload to its end. */
  broken: (sandboxId: string, port: number) =>
    failure(
      'guest_error',
      'The connection to the sandbox broke off before it had answered.',
      { state: 'running', sandbox_id: sandboxId, port },
      { code: 502, message: 'The connection to the sandbox broke off', sandboxId, port },
    ),

  hostAway: (sandboxId: string) =>
    failure(
      'host_unreachable',
      'The host of the sandbox cannot be reached now.',
      { state: 'missing', sandbox_id: sandboxId },
      { code: 502, message: 'The sandbox was not found', sandboxId },
    ),

  tooMany: (sandboxId: string, limit: number) =>
    failure(
      'rate_limited',
      `The sandbox has ${limit} requests and sockets open already.`,
      { sandbox_id: sandboxId, limit, retry_after_sec: 1 },
      { code: 429, message: 'Too many connections', sandboxId },
    ),

  upgrade: (protocol: string) =>
    failure(
      'not_implemented',
      `The proxy carries WebSockets; an upgrade to ${JSON.stringify(protocol)} is not possible.`,
      { protocol },
      { code: 501, message: 'Only WebSockets can be upgraded to' },
    ),

  /** Where a guest's own agent has what is for its host alone. */
  internal: (sandboxId: string) =>
    failure('not_found', 'No such resource.', {}, { code: 404, message: 'Not found', sandboxId }),

  resumeFailed: (sandboxId: string, cause: WrennError) =>
    failure(cause.code, cause.message, cause.details, { code: cause.status, message: cause.message, sandboxId }),
} as const;

function failure(code: WrennError['code'], message: string, details: Json, e2b: E2bFailure): ProxyFailure {
  return new ProxyFailure(new WrennError(code, message, { details }), e2b);
}

/** Who asked decides the form of the answer. */
export interface Audience {
  /** By E2B's headers, to one of its ports, or to a sandbox made through its surface (PX3). */
  readonly e2b: boolean;
  readonly accept: string;
}

export interface FailureAnswer {
  readonly status: number;
  readonly fields: readonly (readonly [string, string])[];
  readonly body: string;
}

const JSON_TYPE = ['content-type', 'application/json; charset=utf-8'] as const;

export function answerOf(error: ProxyFailure, { e2b, accept }: Audience): FailureAnswer {
  const status = e2b ? error.e2b.code : error.status;
  const fields: (readonly [string, string])[] = [
    ['cache-control', 'no-store'],
    ['x-content-type-options', 'nosniff'],
  ];
  if (status === 429) fields.push(['retry-after', '1']);
  if (status === 401) fields.push(['www-authenticate', 'wrenn-traffic-token']);
  if (wantsPage(accept)) {
    fields.push(
      ['content-type', 'text/html; charset=utf-8'],
      ['content-security-policy', "default-src 'none'; style-src 'unsafe-inline'"],
    );
    return { status, fields, body: unavailablePage(status, error) };
  }
  fields.push(JSON_TYPE);
  const body = e2b ? { ...error.e2b } : { error: { code: error.code, message: error.message, details: error.details } };
  return { status, fields, body: JSON.stringify(body) };
}

/** Browsers that navigate say so; programs take anything. */
function wantsPage(accept: string): boolean {
  return accept.includes('text/html');
}

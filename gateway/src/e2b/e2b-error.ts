import { type Logger, WrennError } from '@wrenn/core';
import { errorReply } from '../http/error-reply.ts';
import type { JsonReply } from '../http/route.ts';

/** Names of E2B for failures that its clients tell apart. */
const NAMES: Readonly<Record<string, string>> = {
  no_hosts_available: 'sandbox_capacity_unavailable',
  start_timeout: 'sandbox_placement_timeout',
  boot_timeout: 'sandbox_create_failed',
  vm_failed: 'sandbox_create_failed',
  internal: 'internal_server_error',
};

/** E2B's form of an error: `{code: <status as a number>, message, error_code?}`; its SDKs branch on the number. */
export function e2bErrorReply(error: unknown, log: Logger): JsonReply {
  const { status, headers } = errorReply(error, log);
  const known = error instanceof WrennError ? error : new WrennError('internal', 'Something went wrong here.');
  return { status, ...(headers && { headers }), body: e2bErrorBody(known) };
}

export function e2bErrorBody({ code, status, message }: WrennError) {
  const name = NAMES[code];
  return { code: status, message, ...(name !== undefined && { error_code: name }) };
}

/** What is not served here, in words. */
export function notServed(what: string): WrennError {
  return new WrennError('not_implemented', `${what} not supported by this server.`);
}

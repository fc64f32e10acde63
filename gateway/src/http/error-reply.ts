import type { Logger } from '@wrenn/core';
import { WrennError } from '@wrenn/core';
import type { JsonReply } from './route.ts';

/** What the caller is told; a failure that nobody foresaw is logged whole and told as nothing but `internal`. */
export function errorReply(error: unknown, log: Logger): JsonReply {
  const known = error instanceof WrennError ? error : undefined;
  const status = known?.status ?? 500;
  if (!known) log.error({ err: error }, 'request failed');
  else if (status >= 500) log.warn({ err: error }, 'request failed');
  if (!known)
    return { status, body: { error: { code: 'internal', message: 'Something went wrong here.', details: {} } } };
  const headers: Record<string, string> = {};
  if (status === 401) headers['www-authenticate'] = 'Bearer';
  const retryAfter = retryAfterSeconds(known.details);
  if (retryAfter !== undefined) headers['retry-after'] = String(retryAfter);
  const allowed = (known.details as { allowed?: unknown } | undefined)?.allowed;
  if (status === 426) headers.upgrade = 'websocket';
  if (status === 405 && Array.isArray(allowed)) headers.allow = allowed.join(', ');
  return {
    status,
    headers,
    body: { error: { code: known.code, message: known.message, details: known.details ?? {} } },
  };
}

function retryAfterSeconds(details: unknown): number | undefined {
  const seconds = (details as { retry_after_sec?: unknown } | undefined)?.retry_after_sec;
  return typeof seconds === 'number' ? Math.max(1, Math.ceil(seconds)) : undefined;
}

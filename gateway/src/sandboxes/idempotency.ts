import { WrennError } from '@wrenn/core';
import { badRequest } from '../http/problems.ts';

const IDEMPOTENCY_KEY = /^[\x21-\x7e]{1,255}$/;

/** The header of create, pause, resume, fork and snapshot; null where there is none. */
export function idempotencyKey(headers: ReadonlyMap<string, string> | Headers): string | null {
  const key = headers.get('idempotency-key') ?? null;
  if (key !== null && !IDEMPOTENCY_KEY.test(key)) {
    throw badRequest('Idempotency-Key: must have 1 to 255 visible ASCII characters');
  }
  return key;
}

/** Of create, snapshot and fork, whose key stands for one body. */
export function usedBefore(): WrennError {
  return new WrennError('conflict', 'The Idempotency-Key was used before with another body.');
}

/**
 * Message id of a command to a sandbox: the same key makes it the same message, which gets the first answer. A key counts
 * for one team, one sandbox and one verb. Absent: a message of its own.
 */
export function commandMessage(
  { teamId, id, idempotencyKey: key }: { teamId: string; id: string; idempotencyKey?: string | null },
  verb: string,
): { readonly messageId?: string } {
  return key === null || key === undefined ? {} : { messageId: `idem:${teamId}:${id}:${verb}:${key}` };
}

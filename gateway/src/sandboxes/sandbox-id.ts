import { z } from 'zod';
import { derivedBase36, randomBase36 } from '../base36.ts';

/** No hyphen, since the id is a part of host names. */
export const SANDBOX_ID = /^sb[a-z0-9]{20}$/;

export const sandboxId = z
  .string()
  .regex(SANDBOX_ID, 'must be the id of a sandbox: sb and 20 characters of a-z and 0-9')
  .meta({ description: 'Id of a sandbox', example: 'sb0f3k9v2m7q1x8w5z4c6t' });

export function newSandboxId(): string {
  return `sb${randomBase36()}`;
}

/** The id of an idempotent create: derived, so that a retry meets the same actor (docs/contracts.md). */
export function derivedSandboxId(teamId: string, idempotencyKey: string): string {
  return `sb${derivedBase36('sandbox', teamId, idempotencyKey)}`;
}

import { createHash, randomInt } from 'node:crypto';
import { z } from 'zod';

const ALPHABET = '0123456789abcdefghijklmnopqrstuvwxyz';
/** Spec §0: 36^20 is more than 100 bits; no hyphen, since the id is a part of host names. */
const LENGTH = 20;

export const SANDBOX_ID = /^sb[a-z0-9]{20}$/;

export const sandboxId = z
  .string()
  .regex(SANDBOX_ID, 'must be the id of a sandbox: sb and 20 characters of a-z and 0-9')
  .meta({ description: 'Id of a sandbox', example: 'sb0f3k9v2m7q1x8w5z4c6t' });

export function newSandboxId(): string {
  return `sb${Array.from({ length: LENGTH }, () => ALPHABET[randomInt(36)]).join('')}`;
}

/** The id of an idempotent create: derived, so that a retry meets the same actor (docs/contracts.md). */
export function derivedSandboxId(teamId: string, idempotencyKey: string): string {
  const digest = createHash('sha256').update(`sandbox\0${teamId}\0${idempotencyKey}`).digest('hex');
  return `sb${BigInt(`0x${digest}`).toString(36).padStart(LENGTH, '0').slice(-LENGTH)}`;
}

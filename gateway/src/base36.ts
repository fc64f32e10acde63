import { createHash, randomInt } from 'node:crypto';

const ALPHABET = '0123456789abcdefghijklmnopqrstuvwxyz';
/** 36^20 is more than 100 bits. */
const LENGTH = 20;

/** 20 random characters of a-z and 0-9. */
export function randomBase36(): string {
  return Array.from({ length: LENGTH }, () => ALPHABET[randomInt(36)]).join('');
}

/** 20 characters of a-z and 0-9 that are always the same for the same parts. */
export function derivedBase36(...parts: readonly string[]): string {
  const digest = createHash('sha256').update(parts.join('\0')).digest('hex');
  return BigInt(`0x${digest}`).toString(36).padStart(LENGTH, '0').slice(-LENGTH);
}

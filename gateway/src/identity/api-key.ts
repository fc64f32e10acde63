import { createHash, randomBytes } from 'node:crypto';

/** 32 hex digits behind `wrn_`; `e2b_` is the shape that every E2B SDK takes (ID3). */
const KEY = /^(?:wrn|e2b)_([0-9a-f]{32})$/;
/** Digits that are shown in lists. */
const PREFIX_DIGITS = 6;

export interface NewApiKey {
  /** Shown once. */
  readonly key: string;
  readonly hash: Buffer;
  readonly prefix: string;
}

export function generateApiKey(): NewApiKey {
  const digits = randomBytes(16).toString('hex');
  return { key: `wrn_${digits}`, hash: sha256(digits), prefix: `wrn_${digits.slice(0, PREFIX_DIGITS)}` };
}

/** What is stored of a key; null when the text has not the shape of one. */
export function hashApiKey(key: string): Buffer | null {
  const digits = KEY.exec(key)?.[1];
  return digits === undefined ? null : sha256(digits);
}

export function sha256(text: string): Buffer {
  return createHash('sha256').update(text).digest();
}

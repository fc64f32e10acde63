import { randomBytes } from 'node:crypto';
import { readFile } from 'node:fs/promises';
import { writePrivate } from './write-private.ts';

const KEY = /^[0-9a-f]{64}$/;

/**
 * What this host shows with every registration token. It is on disk before the token is used, so that an agent that died
 * before it had written its credentials down may register again with the same token, and nobody else may.
 */
export async function registrationKey(path: string): Promise<string> {
  const kept = await readFile(path, 'utf8').catch((error: NodeJS.ErrnoException) => {
    if (error.code === 'ENOENT') return '';
    throw error;
  });
  if (KEY.test(kept)) return kept;
  const key = randomBytes(32).toString('hex');
  await writePrivate(path, key);
  return key;
}

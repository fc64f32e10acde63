import { createHash } from 'node:crypto';
import { closeSync, createReadStream, fsyncSync, openSync, renameSync, writeFileSync } from 'node:fs';
import { dirname } from 'node:path';
import { pipeline } from 'node:stream/promises';

/** Gives a finished draft its name so that after a power cut there is the old file or the new one, whole. */
export function publishFile(draft: string, path: string): void {
  syncPath(draft);
  renameSync(draft, path);
  syncPath(dirname(path));
}

/** Writes a small file whole or not at all. */
export function writeFileDurably(path: string, data: string | Uint8Array): void {
  const draft = `${path}.new`;
  writeFileSync(draft, data);
  publishFile(draft, path);
}

/** sha256 of a file's content as lower-case hex. */
export async function digestOf(path: string): Promise<string> {
  const hash = createHash('sha256');
  await pipeline(createReadStream(path, { highWaterMark: 1 << 20 }), hash);
  return hash.digest('hex');
}

function syncPath(path: string): void {
  const fd = openSync(path, 'r');
  try {
    fsyncSync(fd);
  } finally {
    closeSync(fd);
  }
}

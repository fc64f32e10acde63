import { randomUUID } from 'node:crypto';
import { mkdir, open, readFile, rename } from 'node:fs/promises';
import { join } from 'node:path';
import { syncDir } from './journal-file.ts';

/**
 * Identity of a journal's folder, made once. Whoever follows the journal from afar knows by it that positions of another
 * folder (unmounted, restored, new) mean nothing.
 */
export async function readStoreId(dir: string): Promise<string> {
  const path = join(dir, 'store_id');
  const present = await readFile(path, 'utf8').catch((error: NodeJS.ErrnoException) => {
    if (error.code === 'ENOENT') return '';
    throw error;
  });
  if (present.trim() !== '') return present.trim();
  await mkdir(dir, { recursive: true, mode: 0o700 });
  const id = randomUUID();
  const file = await open(`${path}.new`, 'w', 0o600);
  try {
    await file.writeFile(`${id}\n`);
    await file.sync();
  } finally {
    await file.close();
  }
  await rename(`${path}.new`, path);
  await syncDir(dir);
  return id;
}

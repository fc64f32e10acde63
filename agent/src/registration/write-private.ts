import { open, rename } from 'node:fs/promises';
import { dirname } from 'node:path';
import { syncDir } from '@wrenn/addon';

/** Writes a file of root's alone: whole or not at all, and durable when it resolves. */
export async function writePrivate(path: string, text: string): Promise<void> {
  const draft = `${path}.new`;
  const file = await open(draft, 'w', 0o600);
  try {
    await file.chmod(0o600);
    await file.writeFile(text);
    await file.sync();
  } finally {
    await file.close();
  }
  await rename(draft, path);
  await syncDir(dirname(path));
}

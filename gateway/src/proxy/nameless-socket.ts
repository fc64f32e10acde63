import { closeSync, mkdtempSync, openSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

/** Linux's `O_PATH` (asm-generic/fcntl.h): holds the file without opening it, which a socket's does not allow. */
const O_PATH = 0o10000000;

/** A unix socket of this program alone: in no folder, held by a descriptor, and so gone with the process however it ends. */
export interface NamelessSocket {
  /** Good for `connect` of this process only. */
  readonly path: string;
  close(): void;
}

/**
 * `serve` listens on the path that it is given before its first await. The socket has a name for that moment only, in a
 * folder that nobody else may enter.
 */
export async function namelessSocket(serve: (path: string) => Promise<unknown>): Promise<NamelessSocket> {
  const folder = mkdtempSync(join(tmpdir(), 'wrenn-cp-'));
  try {
    const named = join(folder, 'api.sock');
    await serve(named);
    const descriptor = openSync(named, O_PATH);
    return { path: `/proc/self/fd/${descriptor}`, close: () => closeSync(descriptor) };
  } finally {
    rmSync(folder, { recursive: true });
  }
}

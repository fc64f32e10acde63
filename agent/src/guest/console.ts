import { constants, watch } from 'node:fs';
import { open } from 'node:fs/promises';

/** Written by wrenn-init once it has started envd. */
const READY_LINE = 'wrenn-init: ready';
/** A guest may write without end: no more than this is looked at per change, and none of it is kept. */
const MAX_READ_BYTES = 64 << 10;
/** Enough for a kernel's last words. */
const TAIL_BYTES = 4 << 10;

/** Reads up to `length` bytes at a position that may follow from the size. Never follows a link. */
async function readConsole(path: string, length: number, at: (size: number) => number): Promise<Buffer> {
  const file = await open(path, constants.O_RDONLY | constants.O_NOFOLLOW);
  try {
    const { size } = await file.stat();
    const { bytesRead, buffer } = await file.read(Buffer.alloc(length), 0, length, at(size));
    return buffer.subarray(0, bytesRead);
  } finally {
    await file.close();
  }
}

/**
 * Calls back when the guest's init says that envd was started. No more than a hint to try now instead of later: the
 * guest may write what it likes. Returns a function that ends the watch.
 */
export function onReadyLine(path: string, ready: () => void): () => void {
  let position = 0;
  let reading = false;
  let again = false;
  let closed = false;
  const watcher = watch(path, () => void look());
  watcher.on('error', () => watcher.close());
  const look = async (): Promise<void> => {
    if (reading) {
      again = true;
      return;
    }
    reading = true;
    try {
      do {
        again = false;
        const text = (await readConsole(path, MAX_READ_BYTES, () => position)).toString('latin1');
        if (!closed && text.includes(READY_LINE)) ready();
        // The line may come in two pieces: its beginning is read again.
        position += text.endsWith('\n') ? text.length : Math.max(0, text.length - READY_LINE.length);
      } while (again && !closed);
    } catch {
      // gone with its VM
    } finally {
      reading = false;
    }
  };
  void look();
  return () => {
    closed = true;
    watcher.close();
  };
}

/** The last lines of a console, fit for JSON and for people; empty when there is none. */
export async function consoleTail(path: string): Promise<string> {
  try {
    const text = (await readConsole(path, TAIL_BYTES, (size) => Math.max(0, size - TAIL_BYTES))).toString();
    // biome-ignore lint/suspicious/noControlCharactersInRegex: these are what must go (a NUL fails a whole commit)
    return text.replace(/[\u0000-\u0008\u000b-\u001f\u007f\ufffd]/g, '').trimEnd();
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return '';
    throw error;
  }
}

import { constants } from 'node:fs';
import { open, readdir } from 'node:fs/promises';
import type { Logger } from '@wrenn/core';
import type { AgentFiles } from './files.ts';
import { consoleTail } from './guest/console.ts';

/** A guest that writes without end fills about 1 MB/s under emulation, so a file may grow to some 11 MB in between. */
const SWEEP_INTERVAL_MS = 10_000;
const MAX_CONSOLE_BYTES = 1 << 20;

/**
 * Keeps console logs small: one that has grown too large is cut to its last lines. VMMs append, so what they write
 * during the cut goes behind it.
 */
export class ConsoleKeeper {
  readonly #files: AgentFiles;
  readonly #log: Logger;
  #timer: NodeJS.Timeout | undefined;
  #sweeping: Promise<void> = Promise.resolve();

  constructor(files: AgentFiles, log: Logger) {
    this.#files = files;
    this.#log = log;
  }

  start(): void {
    this.#timer = setInterval(() => {
      this.#sweeping = this.sweep().catch((error) => this.#log.warn({ err: error }, 'console logs could not be cut'));
    }, SWEEP_INTERVAL_MS);
  }

  async stop(): Promise<void> {
    clearInterval(this.#timer);
    await this.#sweeping;
  }

  async sweep(): Promise<void> {
    for (const vmId of await readdir(this.#files.sandboxes)) {
      const { console, log } = this.#files.sandbox(vmId);
      await cut(console);
      await cut(log);
    }
  }
}

async function cut(path: string): Promise<void> {
  const file = await open(path, constants.O_WRONLY | constants.O_APPEND | constants.O_NOFOLLOW).catch(
    (error: NodeJS.ErrnoException) => {
      if (error.code === 'ENOENT') return null; // its VM has just gone
      throw error;
    },
  );
  if (file === null) return;
  try {
    if ((await file.stat()).size <= MAX_CONSOLE_BYTES) return;
    const tail = await consoleTail(path);
    await file.truncate(0);
    await file.write(`[cut]\n${tail}\n`);
  } finally {
    await file.close();
  }
}

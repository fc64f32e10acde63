import { constants } from 'node:fs';
import { open, readdir } from 'node:fs/promises';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { type FileLock, lockFile, processAlive, processSpawn } from '@wrenn/addon';
import type { Logger } from '@wrenn/core';
import type { AgentFiles } from './files.ts';
import { consoleTail } from './guest/console.ts';
import { markedProcesses } from './vmm/processes.ts';
import type { VmmProcess } from './vmm/vmm.ts';

/** A guest that writes without end fills about 1 MB/s under emulation, so a file may grow to some 11 MB in between. */
const SWEEP_INTERVAL_MS = 10_000;
/** Looked whether any VM is still there: with the last one the process ends, and lets go of the folder. */
const ALIVE_INTERVAL_MS = 1_000;
const MAX_CONSOLE_BYTES = 1 << 20;
const PROGRAM = join(import.meta.dirname, 'keep-consoles.ts');

/** Held by the process that keeps the consoles of a root small. */
export const keeperLock = ({ root }: AgentFiles): string => join(root, 'console-keeper.lock');

/**
 * Keeps console logs small, also while no agent runs: VMs outlive their agent, and a hostile guest could fill the disk. A
 * process of its own does it (keep-consoles.ts), which lives as long as a VMM of this root; this looks from time to time
 * whether there is one.
 */
export class ConsoleKeeper {
  readonly #files: AgentFiles;
  readonly #log: Logger;
  #timer: NodeJS.Timeout | undefined;
  #looking: Promise<void> = Promise.resolve();

  constructor(files: AgentFiles, log: Logger) {
    this.#files = files;
    this.#log = log;
  }

  start(): void {
    this.#timer = setInterval(() => {
      this.#looking = this.#look().catch((error) => this.#log.warn({ err: error }, 'console logs are not kept small'));
    }, SWEEP_INTERVAL_MS);
  }

  async stop(): Promise<void> {
    clearInterval(this.#timer);
    await this.#looking;
  }

  async #look(): Promise<void> {
    const { root } = this.#files;
    if (!(await isFree(keeperLock(this.#files))) || (await markedProcesses(root)).size === 0) return;
    const { pid } = await processSpawn({ argv: [process.execPath, PROGRAM, root], cwd: '/' });
    this.#log.debug({ keeper_pid: pid }, 'a process keeps console logs small');
  }
}

/** Until the last VMM of the root has ended. Resolves at once where another process does it already. */
export async function keepConsoles(files: AgentFiles): Promise<void> {
  const lock = await takeLock(keeperLock(files));
  if (lock === null) return;
  try {
    for (;;) {
      const vmms = await markedProcesses(files.root);
      if (vmms.size === 0) return;
      await cutConsoles(files);
      const until = Date.now() + SWEEP_INTERVAL_MS;
      do await sleep(ALIVE_INTERVAL_MS);
      while (Date.now() < until && (await anyLives(vmms.values())));
    }
  } finally {
    lock.release();
  }
}

async function anyLives(vmms: Iterable<VmmProcess>): Promise<boolean> {
  for (const { pid, startTime } of vmms) if (await processAlive(pid, startTime)) return true;
  return false;
}

async function isFree(path: string): Promise<boolean> {
  const lock = await takeLock(path);
  lock?.release();
  return lock !== null;
}

function takeLock(path: string): Promise<FileLock | null> {
  return lockFile(path).catch((error) => {
    if (error.code === 'locked') return null;
    throw error;
  });
}

/** One that has grown too large is cut to its last lines. VMMs append, so what they write meanwhile goes behind them. */
export async function cutConsoles(files: AgentFiles): Promise<void> {
  for (const vmId of await readdir(files.sandboxes)) {
    const { console, log } = files.sandbox(vmId);
    await cut(console);
    await cut(log);
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

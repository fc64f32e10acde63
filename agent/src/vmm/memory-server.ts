import { readFile, rm, stat, writeFile } from 'node:fs/promises';
import { createConnection } from 'node:net';
import { constants } from 'node:os';
import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { processAlive, processKill, processSpawn } from '@wrenn/addon';
import { AgentError } from '../errors.ts';
import { type SandboxFiles, WORKING_SET } from '../files.ts';
import type { LiveVmm, VmmProcess } from './vmm.ts';
import { isLive, watchProcess } from './vmm-process.ts';

/** Built beside the addon (native/addon/src/bin/wrenn-faults.rs). */
const PROGRAM = fileURLToPath(new URL('wrenn-faults', import.meta.resolve('@wrenn/addon')));
/** It reads the indexes of the generations first. */
const START_PATIENCE_MS = 10_000;
const SOCKET_POLL_MS = 2;
const ANSWER_PATIENCE_MS = 5_000;
const MAX_ANSWER_BYTES = 4 << 10;
/** 16 MiB: a VM that is given more ahead than it would have touched pays for it with memory. */
const MOST_FIRST_TOUCHES = 4_096;
/** As its VMM. */
const OOM_SCORE_ADJ = 500;

/**
 * SN6: a program of its own gives the VMM its memory page by page, from these generations; it ends with the VMM, not with
 * this program (VM3). Resolves when the VMM may connect to `socket`.
 */
export async function serveMemory(
  { process, files }: LiveVmm,
  socket: string,
  chain: readonly string[],
  signal: AbortSignal,
): Promise<void> {
  const { uid } = await stat(`/proc/${process.pid}`);
  const workingSet = files.at(WORKING_SET);
  await rm(controlOf(files), { force: true }); // an earlier one's: it is waited for
  const server = await processSpawn({
    argv: [
      ...[PROGRAM, '--socket', socket, '--control', controlOf(files), '--working-set', workingSet],
      ...['--pid', `${process.pid}`, '--start-time', `${process.startTime}`, '--uid', `${uid}`],
      ...chain,
    ],
    cwd: '/',
    oomScoreAdj: OOM_SCORE_ADJ,
    stderr: files.log,
  });
  await writeFile(files.at(SERVER), JSON.stringify(server), { mode: 0o600 });
  const patience = AbortSignal.any([signal, AbortSignal.timeout(START_PATIENCE_MS)]);
  while (!(await isThere(controlOf(files)))) {
    if (!(await processAlive(server.pid, server.startTime))) {
      throw new AgentError('snapshot_damaged', 'the memory of the snapshot cannot be served');
    }
    await sleep(SOCKET_POLL_MS, undefined, { signal: patience });
  }
}

/** From now on a VMM whose server ends is ended too: it would hang. One that has no server needs none. */
export async function watchMemory({ process, files }: LiveVmm): Promise<void> {
  const server = await serverOf(files);
  if (server === null) return;
  const end = async () => {
    if (await isLive(process)) await processKill(process.pid, process.startTime, constants.signals.SIGKILL);
  };
  if (await processAlive(server.pid, server.startTime)) watchProcess(server, () => end().catch(() => {}));
  else await end();
}

/** Whether this VM gets its memory page by page. */
export async function isServed(files: SandboxFiles): Promise<boolean> {
  return (await serverOf(files)) !== null;
}

/** Writes which pages were touched since it was restored, as a file of `saving/`. Only a hint: it may be missing. */
export async function saveWorkingSet(files: SandboxFiles): Promise<void> {
  if (!(await isServed(files))) return;
  await ask(files, `save ${files.saving.folder} ${WORKING_SET}`).catch(() => undefined);
}

/** As `saveWorkingSet`, of the pages that were touched first, into any folder. Each VM that uses it will hold them all. */
export async function saveFirstTouches(files: SandboxFiles, folder: string): Promise<void> {
  await ask(files, `save ${folder} ${WORKING_SET} ${MOST_FIRST_TOUCHES}`).catch(() => undefined);
}

export interface MemoryStats {
  /** Pages that the guest waited for, and of these, zeros. */
  readonly faults: number;
  readonly zeros: number;
  /** Pages that were there before it wanted them. */
  readonly prefetched: number;
  readonly removed_bytes: number;
}

/** What was served so far; null: this VM has its memory from nobody. */
export async function memoryStats(files: SandboxFiles): Promise<MemoryStats | null> {
  return (await serverOf(files)) === null ? null : JSON.parse(await ask(files, 'stats'));
}

const SERVER = 'faults.json';
const controlOf = (files: SandboxFiles): string => files.at('faults.sock');

async function serverOf(files: SandboxFiles): Promise<VmmProcess | null> {
  try {
    return JSON.parse(await readFile(files.at(SERVER), 'utf8'));
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return null;
    throw error;
  }
}

/** One line, one answer. */
function ask(files: SandboxFiles, line: string): Promise<string> {
  return new Promise((resolve, reject) => {
    const socket = createConnection(controlOf(files));
    let text = '';
    socket.setEncoding('utf8');
    socket.setTimeout(ANSWER_PATIENCE_MS, () => socket.destroy(new Error('the memory server does not answer')));
    socket.on('data', (chunk: string) => {
      text = (text + chunk).slice(0, MAX_ANSWER_BYTES);
    });
    socket.on('error', reject);
    socket.on('close', () => (text.startsWith('error') || text === '' ? reject(new Error(text)) : resolve(text)));
    socket.write(`${line}\n`);
  });
}

async function isThere(path: string): Promise<boolean> {
  return stat(path).then(
    () => true,
    () => false,
  );
}

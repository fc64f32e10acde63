import { constants } from 'node:os';
import { processAlive, processKill, processWatch } from '@wrenn/addon';
import { isVmm } from './processes.ts';
import type { VmmExit, VmmProcess } from './vmm.ts';

/** VM2: time between the polite request to end and the end. */
const TERMINATION_GRACE_MS = 10_000;

export async function isLive({ pid, startTime }: VmmProcess): Promise<boolean> {
  return (await processAlive(pid, startTime)) && (await isVmm(pid));
}

/** See `Vmm.watch`. */
export function watchProcess({ pid, startTime }: VmmProcess, ended: (exit: VmmExit) => void): void {
  processWatch(pid, startTime, (exit) => ended({ code: exit.code ?? null, signal: exit.signal ?? null }));
}

/** See `Vmm.destroy`. */
export async function endProcess(process: VmmProcess): Promise<void> {
  if (!(await isLive(process))) return;
  const { pid, startTime } = process;
  const ended = Promise.withResolvers<void>();
  watchProcess(process, () => ended.resolve());
  await processKill(pid, startTime, constants.signals.SIGTERM);
  const timer = setTimeout(() => {
    processKill(pid, startTime, constants.signals.SIGKILL).catch(ended.reject);
  }, TERMINATION_GRACE_MS);
  try {
    await ended.promise;
  } finally {
    clearTimeout(timer);
  }
}

import { readFileSync } from 'node:fs';
import { setTimeout as sleep } from 'node:timers/promises';

/** A process named so that a recycled pid is never mistaken for it: pid and start time together are unique until reboot. */
export interface ProcessRecord {
  pid: number;
  /** Field 22 of /proc/<pid>/stat: clock ticks since boot. */
  startTime: string;
}

/** How often the end of a process that is not our child is looked for; there is no portable event for it in Node. */
const EXIT_POLL_MS = 15;

/** Start time of `pid`, or undefined when there is no such process or it is a zombie. */
export function startTimeOf(pid: number): string | undefined {
  try {
    const stat = readFileSync(`/proc/${pid}/stat`, 'utf8');
    const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ');
    return fields[0] === 'Z' ? undefined : fields[19];
  } catch {
    return undefined;
  }
}

/** True while exactly this process lives. */
export function isAlive(record: ProcessRecord): boolean {
  return startTimeOf(record.pid) === record.startTime;
}

/**
 * Ends a process: the signal first, SIGKILL after `graceMs`. Resolves once it is gone; at once if it already was.
 * @returns how it ended, for the line that `make down` prints.
 */
export async function endProcess(
  record: ProcessRecord,
  options: { signal?: NodeJS.Signals; graceMs?: number } = {},
): Promise<'was gone' | 'ended' | 'killed'> {
  if (!isAlive(record)) return 'was gone';
  signalProcess(record.pid, options.signal ?? 'SIGTERM');
  if (await waitForExit(record, options.graceMs ?? 10_000)) return 'ended';
  signalProcess(record.pid, 'SIGKILL');
  await waitForExit(record, 10_000);
  return 'killed';
}

/** Waits until the process is gone; false when it still lives after `timeoutMs`. */
export async function waitForExit(record: ProcessRecord, timeoutMs: number): Promise<boolean> {
  const deadline = Date.now() + timeoutMs;
  while (isAlive(record)) {
    if (Date.now() >= deadline) return false;
    await sleep(EXIT_POLL_MS);
  }
  return true;
}

function signalProcess(pid: number, signal: NodeJS.Signals): void {
  try {
    process.kill(pid, signal);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'ESRCH') throw error;
  }
}

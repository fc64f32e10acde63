import { readFileSync } from 'node:fs';
import type { VmmProcess } from '../vmm/vmm.ts';

/** `sysconf(_SC_CLK_TCK)` and the page size, which Linux has fixed on the machines that we run on (x86-64, arm64 with 4 KiB pages). */
const MS_PER_TICK = 10;
const KIB_PER_PAGE = 4;

export interface ProcessUsage {
  /** Since the process began. */
  readonly cpuMs: number;
  readonly rssKib: number;
}

/**
 * What a VMM has used; null: it is gone. Read without the thread pool: the file is made in memory in some microseconds,
 * and twice a second for each VM.
 */
export function processUsage({ pid, startTime }: VmmProcess): ProcessUsage | null {
  let stat: string;
  try {
    stat = readFileSync(`/proc/${pid}/stat`, 'latin1');
  } catch {
    return null;
  }
  // Field 3 and on (proc_pid_stat(5)): the name before them may hold anything.
  const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ');
  if (Number(fields[19]) !== startTime) return null;
  const [user, system, pages] = [fields[11], fields[12], fields[21]].map(Number);
  return { cpuMs: ((user ?? 0) + (system ?? 0)) * MS_PER_TICK, rssKib: (pages ?? 0) * KIB_PER_PAGE };
}

import { readdir, readFile, stat } from 'node:fs/promises';
import { isVmmUser } from '../slots/names.ts';
import type { VmmProcess } from './vmm.ts';

/** Marks a VMM in its environment: the agent's root folder and the VM's id. Only we and root can read it there. */
export function markOf(root: string, vmId: string): Record<string, string> {
  return { WRENN_ROOT: root, WRENN_VM: vmId };
}

/**
 * Whether this process is a VMM. Pid and start time are counted from the boot of the machine: after another boot a
 * foreign process may have both, and must not be taken for what the journal remembers.
 */
export async function isVmm(pid: number): Promise<boolean> {
  return stat(`/proc/${pid}`).then(
    ({ uid }) => isVmmUser(uid),
    () => false,
  );
}

/** The live processes that carry the mark of this root folder, by VM id. */
export async function markedProcesses(root: string): Promise<Map<string, VmmProcess>> {
  const found = new Map<string, VmmProcess>();
  for (const name of await readdir('/proc')) {
    if (!/^\d+$/.test(name)) continue;
    const [environment, stat] = await Promise.all([readProc(name, 'environ'), readProc(name, 'stat')]);
    const variables = environment.split('\0');
    if (!variables.includes(`WRENN_ROOT=${root}`)) continue;
    const vmId = variables.find((variable) => variable.startsWith('WRENN_VM='))?.slice('WRENN_VM='.length);
    const startTime = startTimeOf(stat);
    if (vmId !== undefined && startTime !== null) found.set(vmId, { pid: Number(name), startTime });
  }
  return found;
}

/** Field 22 of /proc/pid/stat, counted after the name in parentheses that may hold anything; null for the dead. */
function startTimeOf(stat: string): number | null {
  const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ');
  const startTime = Number(fields[19]);
  return Number.isSafeInteger(startTime) && fields[0] !== 'Z' && fields[0] !== 'X' ? startTime : null;
}

/** Empty for a process that has just ended. */
async function readProc(pid: string, file: string): Promise<string> {
  try {
    return await readFile(`/proc/${pid}/${file}`, 'latin1');
  } catch {
    return '';
  }
}

import { readdirSync, readFileSync, rmdirSync } from 'node:fs';
import { join } from 'node:path';
import { endProcess, type ProcessRecord, startTimeOf } from '../lib/process-record.ts';
import type { StackSettings } from './settings.ts';

const CGROUPS = '/sys/fs/cgroup';

/**
 * What an agent that ended leaves for its successor (VM3): VMs that live on, their slots and groups. A stack that is
 * taken down has no successor, so they go too. Only what belongs to this stack's folder and slot range is touched.
 * @returns what there was, for a line of `make down`; empty when there was nothing.
 */
export async function cleanHost(settings: StackSettings): Promise<string> {
  const said: string[] = [];
  const vms = vmmsOf(settings.wrennDir);
  await Promise.all(vms.map((vm) => endProcess(vm, { signal: 'SIGTERM', graceMs: 2_000 })));
  if (vms.length > 0) said.push(`${vms.length} left ${vms.length === 1 ? 'VM' : 'VMs'} ended`);
  const addon = await import('@wrenn/addon');
  const { removeStaleCgroups } = await import('../../agent/src/vmm/cgroup.ts');
  const slots = slotRange(settings);
  await removeStaleCgroups(slots, new Set());
  removeEmptyGroups();
  const left = await addon.slotList(slots);
  await addon.networkRemove({ slots });
  if (left.length > 0) said.push(`${left.length} network ${left.length === 1 ? 'slot' : 'slots'} removed`);
  return said.join(', ');
}

/** The agent marks each VMM's environment with its root folder. */
function vmmsOf(wrennDir: string): ProcessRecord[] {
  return readdirSync('/proc').flatMap((name) => {
    if (!/^\d+$/.test(name) || !isMarked(name, wrennDir)) return [];
    const startTime = startTimeOf(Number(name));
    return startTime === undefined ? [] : [{ pid: Number(name), startTime }];
  });
}

function isMarked(pid: string, wrennDir: string): boolean {
  try {
    const variables = readFileSync(`/proc/${pid}/environ`, 'latin1').split('\0');
    return variables.includes(`WRENN_ROOT=${wrennDir}`) && variables.some((entry) => entry.startsWith('WRENN_VM='));
  } catch {
    return false; // it ended meanwhile
  }
}

/** The agents of a machine share one parent group in each hierarchy; the last to go removes it. */
function removeEmptyGroups(): void {
  const hierarchies = readdirSync(CGROUPS, { withFileTypes: true }).filter((entry) => entry.isDirectory());
  for (const folder of ['', ...hierarchies.map((entry) => entry.name)]) {
    try {
      rmdirSync(join(CGROUPS, folder, 'wrenn'));
    } catch {
      // it is not there, or another agent's groups are in it
    }
  }
}

function slotRange(settings: StackSettings): { first: number; last: number } {
  const [first = 1, last = first] = settings.slots.split('-').map(Number);
  return { first, last };
}

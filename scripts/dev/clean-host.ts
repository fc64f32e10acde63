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
  await Promise.all(vms.map((vm) => addon.cgroupRemove(vm.vmId, true)));
  removeEmptyGroups();
  const slots = slotRange();
  const left = await addon.slotList(slots);
  await addon.networkRemove({ slots });
  if (left.length > 0) said.push(`${left.length} network ${left.length === 1 ? 'slot' : 'slots'} removed`);
  return said.join(', ');
}

interface MarkedVmm extends ProcessRecord {
  /** Also the name of its control group. */
  vmId: string;
}

/** The agent marks each VMM's environment with its root folder. */
function vmmsOf(wrennDir: string): MarkedVmm[] {
  return readdirSync('/proc').flatMap((name) => {
    const vmId = /^\d+$/.test(name) ? markOf(name, wrennDir) : undefined;
    const startTime = vmId === undefined ? undefined : startTimeOf(Number(name));
    return vmId === undefined || startTime === undefined ? [] : [{ pid: Number(name), startTime, vmId }];
  });
}

function markOf(pid: string, wrennDir: string): string | undefined {
  try {
    const variables = readFileSync(`/proc/${pid}/environ`, 'latin1').split('\0');
    if (!variables.includes(`WRENN_ROOT=${wrennDir}`)) return undefined;
    return variables.find((entry) => entry.startsWith('WRENN_VM='))?.slice('WRENN_VM='.length);
  } catch {
    return undefined; // it ended meanwhile
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

function slotRange(): { first: number; last: number } {
  const [first, last] = (process.env.WRENN_SLOTS ?? '1-9999').split('-').map(Number);
  return { first: first ?? 1, last: last ?? 9999 };
}

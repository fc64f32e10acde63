import { existsSync, readdirSync, readFileSync, readlinkSync } from 'node:fs';
import { join } from 'node:path';
import { slotList } from '@wrenn/addon';
import { runningService } from '../../scripts/dev/services.ts';
import type { StackSettings } from '../../scripts/dev/settings.ts';

/** What a stack holds on this machine (I5). */
export interface HostState {
  /** Pids of VMMs. */
  readonly vmms: readonly number[];
  /** Slots of its range, the ready ones included. */
  readonly slots: number;
  readonly sandboxFolders: readonly string[];
  readonly cgroups: readonly string[];
  readonly mounts: readonly string[];
  readonly loops: readonly string[];
  /** Descriptors of the agent; 0 where it does not run. */
  readonly agentDescriptors: number;
}

export async function hostState(settings: StackSettings): Promise<HostState> {
  const [first = 1, last = first] = settings.slots.split('-').map(Number);
  const agent = runningService(settings, 'agent');
  return {
    vmms: pidsOf(
      (environment) => environment.includes(`WRENN_ROOT=${settings.wrennDir}`) && environment.includes('WRENN_VM='),
    ),
    slots: (await slotList({ first, last })).length,
    sandboxFolders: list(join(settings.wrennDir, 'sandboxes')),
    cgroups: cgroups(first, last),
    mounts: readFileSync('/proc/mounts', 'utf8')
      .split('\n')
      .filter((line) => line.includes(settings.dir)),
    loops: list('/sys/block').filter((name) => backingFile(name).startsWith(settings.dir)),
    agentDescriptors: agent ? list(`/proc/${agent.pid}/fd`).filter((fd) => isOpen(agent.pid, fd)).length : 0,
  };
}

/** Pid of the VMM of a sandbox. */
export function vmmOf(settings: StackSettings, sandboxId: string): number {
  const [pid] = pidsOf(
    (environment) => environment.includes(`WRENN_ROOT=${settings.wrennDir}`) && environment.includes(sandboxId),
  );
  if (pid === undefined) throw new Error(`no VMM of ${sandboxId}`);
  return pid;
}

function pidsOf(matches: (environment: string) => boolean): number[] {
  return list('/proc').flatMap((name) => {
    if (!/^\d+$/.test(name)) return [];
    try {
      return matches(readFileSync(`/proc/${name}/environ`, 'latin1')) ? [Number(name)] : [];
    } catch {
      return []; // it ended meanwhile
    }
  });
}

/** Groups of VMs are named by their slot. */
function cgroups(first: number, last: number): string[] {
  const roots = ['/sys/fs/cgroup', ...list('/sys/fs/cgroup').map((name) => join('/sys/fs/cgroup', name))];
  return roots.flatMap((root) =>
    list(join(root, 'wrenn'))
      .filter((name) => (name.match(/\d+/g) ?? []).some((slot) => Number(slot) >= first && Number(slot) <= last))
      .map((name) => join(root, 'wrenn', name)),
  );
}

function backingFile(loop: string): string {
  const file = `/sys/block/${loop}/loop/backing_file`;
  return existsSync(file) ? readFileSync(file, 'utf8') : '';
}

function isOpen(pid: number, fd: string): boolean {
  try {
    return readlinkSync(`/proc/${pid}/fd/${fd}`) !== '';
  } catch {
    return false;
  }
}

function list(folder: string): string[] {
  try {
    return readdirSync(folder);
  } catch {
    return [];
  }
}

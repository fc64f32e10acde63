import { readdirSync, readFileSync } from 'node:fs';
import { basename, join } from 'node:path';
import { seenByVmm } from '../../agent/src/vmm/view.ts';

/**
 * Pids of the live VMMs of an agent's root folder, by VM id, as the kernel has them: a VMM is of the VM whose folder it
 * has before it, under the name that this has now (one that was made ahead is taken over by renaming it).
 */
export function liveVms(root: string): Map<string, number[]> {
  const found = new Map<string, number[]>();
  for (const name of readdirSync('/proc')) {
    if (!/^\d+$/.test(name)) continue;
    const variables = environment(name);
    if (!variables.includes(`WRENN_ROOT=${root}`)) continue;
    const marked = variables.find((variable) => variable.startsWith('WRENN_VM='))?.slice('WRENN_VM='.length);
    const vmId = folderBefore(name, root) ?? marked;
    if (vmId !== undefined) found.set(vmId, [...(found.get(vmId) ?? []), Number(name)]);
  }
  return found;
}

/** Empty for the dead, zombies included. */
function environment(pid: string): string[] {
  return readProcess(pid, 'environ').split('\0');
}

/** The name of what is mounted where a VMM sees its folder. proc_pid_mountinfo(5): root and mount point are fields 4 and 5. */
function folderBefore(pid: string, root: string): string | null {
  for (const line of readProcess(pid, 'mountinfo').split('\n')) {
    const [, , , source = '', target] = line.split(' ');
    // The source is a path of its file system, which need not be mounted at `/`.
    if (target === seenByVmm.files.folder && join(root, 'sandboxes', basename(source)).endsWith(source)) {
      return basename(source);
    }
  }
  return null;
}

function readProcess(pid: string, file: string): string {
  try {
    return readFileSync(`/proc/${pid}/${file}`, 'latin1');
  } catch {
    return '';
  }
}

/** I1: sandboxes of which more than one VM lives. */
export function doubled(vms: ReadonlyMap<string, readonly number[]>): string[] {
  const bySandbox = new Map<string, number>();
  for (const [vmId, pids] of vms) {
    const sandbox = sandboxOf(vmId);
    bySandbox.set(sandbox, (bySandbox.get(sandbox) ?? 0) + pids.length);
  }
  return [...bySandbox].filter(([, count]) => count > 1).map(([id]) => id);
}

export function sandboxOf(vmId: string): string {
  return vmId.slice(0, vmId.lastIndexOf('.'));
}

/** A VM that was made ahead of demand, and that no sandbox has taken over. */
export function isAhead(vmId: string): boolean {
  return vmId.startsWith('warm.');
}

import { readdirSync, readFileSync } from 'node:fs';

/** Pids of the live VMMs of an agent's root folder, by VM id, as the kernel has them. */
export function liveVms(root: string): Map<string, number[]> {
  const found = new Map<string, number[]>();
  for (const name of readdirSync('/proc')) {
    if (!/^\d+$/.test(name)) continue;
    const variables = environment(name);
    if (!variables.includes(`WRENN_ROOT=${root}`)) continue;
    const vmId = variables.find((variable) => variable.startsWith('WRENN_VM='))?.slice('WRENN_VM='.length);
    if (vmId !== undefined) found.set(vmId, [...(found.get(vmId) ?? []), Number(name)]);
  }
  return found;
}

/** Empty for the dead, zombies included. */
function environment(pid: string): string[] {
  try {
    return readFileSync(`/proc/${pid}/environ`, 'latin1').split('\0');
  } catch {
    return [];
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

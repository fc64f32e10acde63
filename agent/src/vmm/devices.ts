import { chmod, readFile, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { AgentError } from '../errors.ts';
import { runProgram } from '../run-program.ts';

/** Major numbers: the kernel's `misc` class, and its memory devices. */
const MISC = 10;
const MEM = 1;
/**
 * Where a VMM looks for each, and its numbers (Documentation/admin-guide/devices.txt); a minor number of null: the kernel
 * gives it one at each boot. A VMM that is not root gets its userfaultfd from the device (Linux 6.1).
 */
export const DEVICES = {
  /** By which QEMU finds out how files are locked. */
  null: { path: '/dev/null', major: MEM, fixed: 3 },
  urandom: { path: '/dev/urandom', major: MEM, fixed: 9 },
  tun: { path: '/dev/net/tun', major: MISC, fixed: 200 },
  kvm: { path: '/dev/kvm', major: MISC, fixed: 232 },
  userfaultfd: { path: '/dev/userfaultfd', major: MISC, fixed: null },
} as const;

export interface DeviceMount {
  readonly source: string;
  readonly target: string;
}

/**
 * The machine's own nodes are often root's alone, and a VMM is not root, nor does it see them. So the agent has nodes of its
 * own that anybody may open, in a folder that nobody gets into, and mounts them in the namespace of each VMM.
 */
export async function prepareDevices(
  folder: string,
  names: readonly (keyof typeof DEVICES)[],
  signal: AbortSignal,
): Promise<DeviceMount[]> {
  const mounts: DeviceMount[] = [];
  for (const name of names) {
    const { path: target, major, fixed } = DEVICES[name];
    const source = join(folder, name);
    const minor = fixed ?? (await dynamicMinor(name));
    await rm(source, { force: true }); // an earlier boot's may have another number
    await runProgram('mknod', [source, 'c', `${major}`, `${minor}`], signal);
    await chmod(source, 0o666);
    mounts.push({ source, target });
  }
  return mounts;
}

async function dynamicMinor(name: string): Promise<number> {
  const numbers = await readFile(`/sys/class/misc/${name}/dev`, 'utf8').catch((cause) => {
    throw new AgentError('vmm_failed', `this kernel has no /dev/${name}`, { cause });
  });
  return Number(numbers.split(':')[1]);
}

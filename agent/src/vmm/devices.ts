import { chmod, lstat } from 'node:fs/promises';
import { join } from 'node:path';
import { runProgram } from '../run-program.ts';

/** A device that VMMs open, and where a VMM looks for it. Numbers: Documentation/admin-guide/devices.txt. */
const DEVICES = {
  tun: { path: '/dev/net/tun', major: 10, minor: 200 },
  kvm: { path: '/dev/kvm', major: 10, minor: 232 },
} as const;

export interface DeviceMount {
  readonly source: string;
  readonly target: string;
}

/**
 * The machine's own nodes are often root's alone, and a VMM is not root. So the agent has nodes of its own that anybody
 * may open, in a folder that nobody gets into, and mounts them over the machine's in the namespace of each VMM.
 */
export async function prepareDevices(
  folder: string,
  names: readonly (keyof typeof DEVICES)[],
  signal: AbortSignal,
): Promise<DeviceMount[]> {
  const mounts: DeviceMount[] = [];
  for (const name of names) {
    const { path: target, major, minor } = DEVICES[name];
    const source = join(folder, name);
    if (!(await isThere(source))) await runProgram('mknod', [source, 'c', `${major}`, `${minor}`], signal);
    await chmod(source, 0o666);
    mounts.push({ source, target });
  }
  return mounts;
}

async function isThere(path: string): Promise<boolean> {
  try {
    return (await lstat(path)).isCharacterDevice();
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return false;
    throw error;
  }
}

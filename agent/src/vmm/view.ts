import { mkdir, writeFile } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { SandboxFiles } from '../files.ts';
import { DEVICES } from './devices.ts';

/**
 * What a VMM sees (VM2): in its own mount namespace the VM's folder, the kernels and the VMM itself lie at stable paths, the
 * same for every VM, so that what it remembers of paths is right wherever a snapshot of it is loaded.
 */
const VMM_VIEW = '/run/wrenn';

/**
 * The root folder of every VMM. On the host it has nothing but mount points, root's all of them: what a VMM does not get
 * mounted there it does not see.
 */
export const VMM_ROOT = '/run/wrenn/jail';

export const seenByVmm = {
  files: new SandboxFiles(join(VMM_VIEW, 'vm')),
  kernels: join(VMM_VIEW, 'kernels'),
  /** The VMM's own program, with its firmware and libraries. */
  vmm: join(VMM_VIEW, 'vmm'),
} as const;

/** Makes the mount points. They are never removed: another agent's VMMs use the same. */
export async function prepareView(): Promise<void> {
  const folders = [seenByVmm.files.folder, seenByVmm.kernels, seenByVmm.vmm];
  const nodes = Object.values(DEVICES).map(({ path }) => path);
  for (const folder of [...folders, ...nodes.map((path) => dirname(path))]) {
    await mkdir(join(VMM_ROOT, folder), { recursive: true, mode: 0o755 });
  }
  for (const node of nodes) await writeFile(join(VMM_ROOT, node), '', { flag: 'a', mode: 0o444 });
}

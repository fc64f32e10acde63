import { mkdir } from 'node:fs/promises';
import { join } from 'node:path';
import { SandboxFiles } from '../files.ts';

/**
 * What a VMM sees (VM2): in its own mount namespace the VM's folder and the kernels lie at stable paths, the same for
 * every VM, so that what it remembers of paths is right wherever a snapshot of it is loaded. The host has these as
 * empty folders that serve as mount points.
 */
const VMM_VIEW = '/run/wrenn';

export const seenByVmm = {
  files: new SandboxFiles(join(VMM_VIEW, 'vm')),
  kernels: join(VMM_VIEW, 'kernels'),
  /** The VMM's own program, with its firmware and libraries. */
  vmm: join(VMM_VIEW, 'vmm'),
} as const;

/** Makes the mount points. */
export async function prepareView(): Promise<void> {
  for (const folder of [VMM_VIEW, seenByVmm.files.folder, seenByVmm.kernels, seenByVmm.vmm]) {
    await mkdir(folder, { recursive: true, mode: 0o755 });
  }
}

import { open, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { dmDiskCreate, dmDiskRemove } from '@wrenn/addon';
import { AgentError } from '../errors.ts';
import type { AgentFiles } from '../files.ts';
import type { VmmIdentity } from '../vmm/vmm.ts';
import { DmStore } from './dm.ts';
import type { Images } from './images.ts';
import { Qcow2Store } from './qcow2.ts';
import { RawStore } from './raw.ts';
import type { RootfsStore } from './store.ts';

export type DiskKind = 'dm' | 'qcow2' | 'raw';

/** What each VMM can give to a guest. A raw file needs a whole copy, which QEMU has no use for. */
const KINDS: Readonly<Record<VmmIdentity['name'], readonly DiskKind[]>> = {
  firecracker: ['dm', 'raw'],
  qemu: ['qcow2', 'dm'],
};

/**
 * FS3: which disks the VMs of this VMM have. `auto`: for Firecracker device-mapper where it works here, else copies; for
 * QEMU its own overlays, since those are branched without a copy while the guest stands still.
 */
export async function chooseDisks(
  wanted: 'auto' | DiskKind,
  vmm: VmmIdentity['name'],
  files: AgentFiles,
): Promise<DiskKind> {
  if (wanted === 'auto') {
    if (vmm === 'qemu') return 'qcow2';
    return (await whyNoDeviceMapper(files)) === null ? 'dm' : 'raw';
  }
  if (!KINDS[vmm].includes(wanted)) {
    throw new AgentError('vmm_failed', `WRENN_DISKS=${wanted}: ${vmm} takes ${KINDS[vmm].join(' or ')}`);
  }
  const reason = wanted === 'dm' ? await whyNoDeviceMapper(files) : null;
  if (reason !== null) throw new AgentError('vmm_failed', `WRENN_DISKS=dm: no disk could be made: ${reason}`);
  return wanted;
}

export function openStore(kind: DiskKind, images: Images, root: string): RootfsStore {
  if (kind === 'dm') return new DmStore(images, root);
  return kind === 'raw' ? new RawStore(images) : new Qcow2Store(images);
}

const PROBE_BYTES = 1 << 20;

/** Found out by making a disk; null: it works. */
async function whyNoDeviceMapper({ root }: AgentFiles): Promise<string | null> {
  const [base, cow, id] = [join(root, 'probe.base'), join(root, 'probe.cow'), `probe.${process.pid}`];
  try {
    const file = await open(base, 'w', 0o600);
    await file.truncate(PROBE_BYTES).finally(() => file.close());
    await rm(cow, { force: true });
    try {
      await dmDiskCreate({ id, base, cow, bytes: PROBE_BYTES });
    } finally {
      await dmDiskRemove(id);
    }
    return null;
  } catch (error) {
    return (error as Error).message;
  } finally {
    for (const path of [base, cow]) await rm(path, { force: true });
  }
}

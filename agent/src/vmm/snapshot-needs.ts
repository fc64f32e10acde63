import { access } from 'node:fs/promises';
import { join } from 'node:path';
import type { AgentFiles } from '../files.ts';
import type { DeviceMount } from './devices.ts';
import type { GuestKernel } from './guest-kernel.ts';
import type { SnapshotNeeds, VmmIdentity } from './vmm.ts';

/** What every driver is made of. */
export interface VmmFacts {
  readonly identity: VmmIdentity;
  /** The CPU that guests see, and what it depends on. */
  readonly cpu: string;
  readonly platform: { readonly tscKhz: number; readonly kernel: GuestKernel };
  readonly files: AgentFiles;
  readonly devices: readonly DeviceMount[];
  /** Name of the store that its VMs' disks are of. */
  readonly disks: string;
}

/** What a snapshot that is made here needs to run (SN12), in words that are compared. */
export function needsOf({ identity, cpu, platform, disks }: VmmFacts): SnapshotNeeds {
  return {
    vmm: identity.name,
    vmm_version: identity.version,
    vmm_digest: identity.digest,
    acceleration: identity.acceleration,
    cpu,
    kernel: platform.kernel.digest,
    tsc_khz: `${platform.tscKhz}`,
    disks,
  };
}

/** Snapshots from before there was a choice of these. */
const UNSAID: SnapshotNeeds = { disks: 'qcow2' };

/** SN12: why a snapshot with these needs cannot run where `own` is what there is; null: it can. Its VMM may be an older one that is kept. */
export async function refusalOf(needs: SnapshotNeeds, own: SnapshotNeeds, vmms: string): Promise<string | null> {
  for (const [name, value] of Object.entries(own)) {
    const needed = needs[name] ?? UNSAID[name];
    if (name === 'vmm_digest' || name === 'vmm_version' || needed === value) continue;
    return `it needs ${name} ${needed ?? 'unknown'}, here it is ${value}`;
  }
  const digest = needs.vmm_digest ?? '';
  if (/^[0-9a-f]{64}$/.test(digest) && (await isThere(join(vmms, digest)))) return null;
  return `it needs ${needs.vmm} ${needs.vmm_version} (${digest.slice(0, 12)}), which is not kept here`;
}

async function isThere(path: string): Promise<boolean> {
  return access(path).then(
    () => true,
    () => false,
  );
}

import { access } from 'node:fs/promises';
import { join } from 'node:path';
import type { SnapshotNeeds } from './vmm.ts';

/** SN12: why a snapshot with these needs cannot run where `own` is what there is; null: it can. Its VMM may be an older one that is kept. */
export async function refusalOf(needs: SnapshotNeeds, own: SnapshotNeeds, vmms: string): Promise<string | null> {
  for (const [name, value] of Object.entries(own)) {
    if (name === 'vmm_digest' || name === 'vmm_version' || needs[name] === value) continue;
    return `it needs ${name} ${needs[name] ?? 'unknown'}, here it is ${value}`;
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

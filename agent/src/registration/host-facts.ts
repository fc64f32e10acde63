import { readFileSync, statfsSync } from 'node:fs';
import { statfs } from 'node:fs/promises';
import { arch, availableParallelism, freemem, loadavg } from 'node:os';
import { type AgentSettings, warmPoolOf } from '../config.ts';
import type { Vmm } from '../vmm/vmm.ts';
import { WarmPool } from '../warm-pool.ts';
import type { HostSpecs } from './control-plane.ts';

const MIB = 1 << 20;

export const AGENT_VERSION: string = JSON.parse(
  readFileSync(new URL('../../package.json', import.meta.url), 'utf8'),
).version;

/** What this machine offers, as it is told at registration. */
export async function hostSpecs(settings: AgentSettings, root: string, vmm: Vmm, store: string): Promise<HostSpecs> {
  const { bsize, bavail } = await statfs(root);
  const reserved = WarmPool.reservedMb({ warm: warmPoolOf(settings), waiting: settings.WRENN_VMM_POOL });
  return {
    vcpus: settings.WRENN_HOST_VCPUS,
    memory_mb: settings.WRENN_HOST_MEMORY_MB - reserved,
    disk_mb: Math.floor((bsize * bavail) / MIB),
    arch: arch(),
    vmm: `${vmm.identity.name}/${vmm.identity.acceleration}`,
    vmm_version: vmm.identity.version,
    agent_version: AGENT_VERSION,
    store,
  };
}

/** How busy the machine is, and how much room the agent's folder has (FS4), for schedulers and people. */
export function hostLoad(root: string): Record<string, number> {
  const [oneMinute = 0] = loadavg();
  const { bsize, bavail } = statfsSync(root);
  return {
    cpu_pct: Math.round((oneMinute / availableParallelism()) * 100),
    memory_free_mb: Math.floor(freemem() / MIB),
    disk_free_mb: Math.floor((bsize * bavail) / MIB),
  };
}

import { mkdirSync, truncateSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { type StackSettings, stackSettings } from '../../scripts/dev/settings.ts';
import { freePort } from '../../scripts/lib/free-port.ts';

/** What the agent keeps in reserve: network slots, and VMs of each kind that are made ahead of demand. */
export const RESERVE = { slots: 2, warm: 1, waiting: 1 } as const;

/** A roomy host; what it has in reserve is made anew by each of its lives. */
export const HOST = {
  WRENN_HOST_MEMORY_MB: '65536',
  WRENN_HOST_VCPUS: '512',
  WRENN_SLOT_POOL: `${RESERVE.slots}`,
  WRENN_WARM_POOL: `minimal=${RESERVE.warm}`,
  WRENN_VMM_POOL: `${RESERVE.waiting}`,
};

/** The folder of an agent with one small image: nothing of it is ever run. */
export async function settingsIn(dir: string, slots: string): Promise<StackSettings> {
  const wrennDir = join(dir, 'lib');
  for (const folder of ['images', 'kernels']) mkdirSync(join(wrennDir, folder), { recursive: true });
  writeFileSync(join(wrennDir, 'kernels/initrd'), '');
  writeFileSync(join(wrennDir, 'images/minimal.json'), '{"ready_port":null}');
  const image = join(wrennDir, 'images/minimal.ext4');
  writeFileSync(image, '');
  truncateSync(image, 1 << 20);
  const env = {
    WRENN_DIR: wrennDir,
    WRENN_LISTEN: `127.0.0.1:${await freePort()}`,
    WRENN_AGENT_LISTEN: `127.0.0.1:${await freePort()}`,
    WRENN_SLOTS: slots,
  };
  return stackSettings(env, dir);
}

/** Programs that start a thousand times keep their compiled code. */
export function shared(dir: string): NodeJS.ProcessEnv {
  return {
    NODE_COMPILE_CACHE: join(dir, 'compiled'),
    WRENN_LOG_LEVEL: process.env.WRENN_LOG_LEVEL ?? 'warn',
  };
}

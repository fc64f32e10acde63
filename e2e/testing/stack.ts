import { existsSync, mkdirSync, readFileSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { join, resolve } from 'node:path';
import { stopStack } from '../../scripts/dev/down.ts';
import { type StackSettings, stackSettings } from '../../scripts/dev/settings.ts';
import { startStack } from '../../scripts/dev/up.ts';
import { STATE_DIR } from '../../scripts/lib/checkout.ts';
import { freePort } from '../../scripts/lib/free-port.ts';
import { WORLD_NAME_SERVER } from './world.ts';

/** Apart from the slots of `make up` (1-999) and of the rooms' tests. */
export const SHARED_SLOTS = '7000-7099';

export interface Stack {
  readonly settings: StackSettings;
  readonly url: string;
  /** Of the first account's team. */
  readonly apiKey: string;
  /** A platform admin's session. */
  readonly adminToken: string;
}

/** More than a small machine offers by itself: a test has twenty sandboxes at once. */
const OFFERED_VCPUS = '32';
/** Tests count what is on the host: nothing is made ahead. */
const WARM_POOL = 'minimal=0';

/** Long enough for no VM to be taken for one that nobody owns, short enough to wait for. */
const ORPHAN_GRACE_SEC = '20';

/** Kernels and images as `make` built them. */
const BUILT = resolve(process.env.WRENN_DIR ?? join(STATE_DIR, 'lib'));
export const isBuilt = ['kernels/kernel.json', 'images/minimal.json'].every((file) => existsSync(join(BUILT, file)));

/**
 * PostgreSQL, Redis, control plane and host agent as real processes, in a folder and a range of slots of their own.
 * Again on the same folder: the same stack, and what of it does not run is started.
 */
export async function startTestStack(dir: string, slots: string): Promise<Stack> {
  const settings = await settingsOf(dir, slots);
  process.env.WRENN_HOST_VCPUS ??= OFFERED_VCPUS;
  process.env.WRENN_WARM_POOL ??= WARM_POOL;
  process.env.WRENN_NAME_SERVERS ??= WORLD_NAME_SERVER;
  process.env.WRENN_ORPHAN_GRACE_SEC ??= ORPHAN_GRACE_SEC;
  try {
    const account = await startStack(settings, () => undefined);
    return { settings, url: `http://${settings.listen}`, apiKey: account.apiKey, adminToken: account.token };
  } catch (error) {
    await stopStack(settings, () => undefined);
    throw error;
  }
}

/** Does nothing where no stack was ever started. */
export async function stopTestStack(dir: string): Promise<void> {
  const kept = keptSettings(dir);
  if (kept) await stopStack(kept, () => undefined);
  rmSync(dir, { recursive: true, force: true });
}

const FILE = 'e2e.json';

function keptSettings(dir: string): StackSettings | undefined {
  const file = join(dir, FILE);
  return existsSync(file) ? (JSON.parse(readFileSync(file, 'utf8')) as StackSettings) : undefined;
}

async function settingsOf(dir: string, slots: string): Promise<StackSettings> {
  const kept = keptSettings(dir);
  if (kept) return kept;
  const wrennDir = join(dir, 'lib');
  mkdirSync(wrennDir, { recursive: true });
  for (const folder of ['kernels', 'images']) symlinkSync(join(BUILT, folder), join(wrennDir, folder));
  const env = {
    WRENN_DIR: wrennDir,
    WRENN_LISTEN: `127.0.0.1:${await freePort()}`,
    WRENN_AGENT_LISTEN: `127.0.0.1:${await freePort()}`,
    WRENN_SLOTS: slots,
    ...(process.env.WRENN_DOMAIN !== undefined && { WRENN_DOMAIN: process.env.WRENN_DOMAIN }),
  };
  const settings = await stackSettings(env, dir);
  writeFileSync(join(dir, FILE), JSON.stringify(settings), { mode: 0o600 });
  return settings;
}

import { existsSync, mkdirSync, mkdtempSync, rmSync, symlinkSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { stopStack } from '../../scripts/dev/down.ts';
import { stackSettings, type StackSettings } from '../../scripts/dev/settings.ts';
import { startStack } from '../../scripts/dev/up.ts';
import { STATE_DIR } from '../../scripts/lib/checkout.ts';
import { freePort } from '../../scripts/lib/free-port.ts';

/** Apart from the slots of `make up` and of other tests. */
const SLOTS = '7000-7099';

export interface Stack {
  readonly settings: StackSettings;
  readonly url: string;
  /** Of the first account's team. */
  readonly apiKey: string;
  /** A platform admin's session. */
  readonly adminToken: string;
  stop(): Promise<void>;
}

/** Kernels and images as `make` built them. */
const BUILT = resolve(process.env.WRENN_DIR ?? join(STATE_DIR, 'lib'));
export const isBuilt = ['kernels/kernel.json', 'images/minimal.json'].every((file) => existsSync(join(BUILT, file)));

/**
 * PostgreSQL, Redis, control plane and host agent as real processes, in a folder and a range of slots of their own. With
 * `at` again the same stack, whatever of it runs still.
 */
export async function startTestStack(at?: { readonly dir: string; readonly settings: StackSettings }): Promise<Stack> {
  const dir = at?.dir ?? mkdtempSync(join(tmpdir(), 'wrenn-e2e-'));
  const settings = at?.settings ?? (await newSettings(dir));
  const stop = async () => {
    await stopStack(settings, () => undefined);
    rmSync(dir, { recursive: true, force: true });
  };
  const account = await startStack(settings, () => undefined).catch(async (error: unknown) => {
    await stop();
    throw error;
  });
  return {
    settings,
    url: `http://${settings.listen}`,
    apiKey: account.apiKey,
    adminToken: account.token,
    stop,
  };
}

async function newSettings(dir: string): Promise<StackSettings> {
  const wrennDir = join(dir, 'lib');
  mkdirSync(wrennDir);
  for (const folder of ['kernels', 'images']) symlinkSync(join(BUILT, folder), join(wrennDir, folder));
  const env = {
    WRENN_DIR: wrennDir,
    WRENN_LISTEN: `127.0.0.1:${await freePort()}`,
    WRENN_AGENT_LISTEN: `127.0.0.1:${await freePort()}`,
    WRENN_SLOTS: SLOTS,
  };
  return stackSettings(env, dir);
}

import { mkdir, mkdtemp, rm, symlink } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { networkRemove } from '@wrenn/addon';
import { parseConfig, silentLog } from '@wrenn/core';
import { VmStatus } from '@wrenn/proto/hostagent/v1/hostagent_pb';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { agentSettings } from '../src/config.ts';
import { AgentFiles } from '../src/files.ts';
import { vmIdOf } from '../src/incarnations.ts';
import { start } from '../src/service/create-sandbox.ts';
import { checkSpec } from '../src/service/spec.ts';
import { startVmHost, type VmHost } from '../src/vm-host.ts';
import { newSandboxId, SPEC } from './agent-process.ts';

const TIMEOUT_MS = 240_000;
const SLOTS = { first: 9245, last: 9249 };
const BUILT = process.env.WRENN_DIR ?? resolve(import.meta.dirname, '../../.wrenn/lib');

let folder: string;
let host: VmHost;

beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'wrenn-syncs-'));
  const files = new AgentFiles(folder);
  await mkdir(files.root, { recursive: true });
  await symlink(join(BUILT, 'kernels'), files.kernels);
  await symlink(join(BUILT, 'images'), files.images);
  const settings = parseConfig(
    agentSettings,
    { WRENN_SLOTS: `${SLOTS.first}-${SLOTS.last}`, WRENN_WARM_POOL: 'minimal=1', WRENN_VMM_POOL: '0' },
    { cwd: folder },
  );
  host = await startVmHost({ settings, files, log: silentLog }, AbortSignal.timeout(TIMEOUT_MS));
}, TIMEOUT_MS);

afterAll(async () => {
  await host?.destroyAll(AbortSignal.timeout(60_000));
  await host?.stop();
  await networkRemove({ slots: SLOTS });
  await rm(folder, { recursive: true });
}, TIMEOUT_MS);

/** Starts a sandbox as the service does; gives the syncs of the journal until the answer. */
async function syncsOfCreate(memoryMb: number): Promise<{ syncs: number; claimed: boolean }> {
  const sandboxId = newSandboxId();
  const vmId = vmIdOf(sandboxId, 1);
  const command = { sandboxId, incarnation: 1, vmId, key: sandboxId, epoch: 1, budgetMs: 100_000 };
  const spec = checkSpec({ ...SPEC, memoryMb } as Parameters<typeof checkSpec>[0], sandboxId);
  const before = host.journal.syncs();
  const report = await start(host as never, command, spec, { kind: 'template' }, AbortSignal.timeout(TIMEOUT_MS));
  const syncs = host.journal.syncs() - before;
  expect(report.status).toBe(VmStatus.READY);
  const context = (await host.journal.read(vmId))?.context;
  return { syncs, claimed: context?.claim != null };
}

test(
  'design §3: a create costs two syncs of the journal at most, whether it takes a warm VM over or makes its own',
  async () => {
    await expect.poll(() => host.warm.count('warm'), { timeout: 120_000 }).toBe(1);
    const warm = await syncsOfCreate(512);
    expect(warm.claimed).toBe(true);
    expect(warm.syncs).toBeLessThanOrEqual(2);
    await expect.poll(() => host.warm.count('warm'), { timeout: 120_000 }).toBe(1);
    await syncsOfCreate(256); // the first of its class boots it
    const own = await syncsOfCreate(256);
    expect(own.claimed).toBe(false);
    expect(own.syncs).toBeLessThanOrEqual(2);
  },
  TIMEOUT_MS,
);

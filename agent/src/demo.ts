import { randomBytes } from 'node:crypto';
import { mkdir, rm, symlink } from 'node:fs/promises';
import { join } from 'node:path';
import { networkRemove, slotList } from '@wrenn/addon';
import type { Logger } from '@wrenn/core';
import type { AgentSettings } from './config.ts';
import { AgentFiles } from './files.ts';
import { consoleTail } from './guest/console.ts';
import { runCommand } from './guest/exec.ts';
import { vmIdOf } from './incarnations.ts';
import { Images } from './rootfs/images.ts';
import { startVmHost, type VmHost } from './vm-host.ts';

const MIB = 1 << 20;
const BUDGET_MS = 120_000;

/**
 * AG7: one VM without a control plane. It has a root folder of its own and one slot at the end of the range, so that
 * an agent may run beside it; kernel and images are those of `WRENN_DIR`.
 */
export async function demo(
  settings: AgentSettings,
  files: AgentFiles,
  print: (line: string) => void,
  log: Logger,
  signal: AbortSignal,
): Promise<void> {
  const own = new AgentFiles(join(files.root, `demo-${randomBytes(3).toString('hex')}`));
  const index = await freeSlot(settings.WRENN_SLOTS);
  const slots = { first: index, last: index };
  await mkdir(own.root, { recursive: true });
  try {
    await symlink(files.kernels, own.kernels);
    await symlink(files.images, own.images);
    const only = { ...settings, WRENN_SLOTS: slots, WRENN_SLOT_POOL: 0, WRENN_WARM_POOL: new Map() };
    const host = await startVmHost({ settings: only, files: own, log }, signal);
    print(`VMM: ${host.vmm.identity.name} ${host.vmm.identity.version} (${host.vmm.identity.acceleration})`);
    try {
      await runDemo(host, new Images(files.images), print, signal);
    } finally {
      await host.destroyAll(AbortSignal.timeout(BUDGET_MS));
      await host.stop();
      print('cleaned up');
    }
  } finally {
    await networkRemove({ slots });
    await rm(own.root, { recursive: true, force: true });
  }
}

async function runDemo(
  host: VmHost,
  images: Images,
  print: (line: string) => void,
  signal: AbortSignal,
): Promise<void> {
  const { sizeBytes } = await images.find('minimal');
  const sandboxId = `sb${randomBytes(10).toString('hex')}`;
  const vmId = vmIdOf(sandboxId, 1);
  print('booting a VM …');
  const spec = {
    template: 'minimal',
    vcpus: 1,
    memory_mb: 512,
    disk_size_mb: Math.ceil(sizeBytes / MIB),
    envs: {},
    access_token: randomBytes(16).toString('hex'),
    default_user: '',
    hostname: 'demo',
    team_id: '',
  };
  const answer = await host.journal.runtime.ask(
    { kind: 'vm', id: vmId },
    {
      ...{ type: 'CREATE', sandbox_id: sandboxId, incarnation: 1, key: 'demo', epoch: 1, spec, budget_ms: BUDGET_MS },
      ...{ purpose: 'sandbox', source: { kind: 'kernel' }, claim: null },
    },
    { cause: { type: 'system', name: 'demo' }, signal },
  );
  if (!answer.ok) throw new Error(`the VM did not start: ${answer.error.message}`);
  const { timings_ms: times } = (await host.journal.read(vmId))?.context ?? { timings_ms: {} };
  print(
    `ready (${Object.entries(times)
      .map(([phase, ms]) => `${phase} ${ms} ms`)
      .join(', ')})`,
  );
  const vm = host.vms.ready(sandboxId);
  if (vm === undefined) throw new Error('the VM ended at once');
  print('$ echo hello');
  const command = {
    cmd: 'echo',
    args: ['hello'],
    cwd: '',
    envs: {},
    stdin: new Uint8Array(),
    user: '',
    timeoutMs: 30_000,
  };
  try {
    for await (const { event } of runCommand(vm.guest, command, signal)) {
      if (event.case === 'data' && event.value.output.case === 'stdout') {
        print(Buffer.from(event.value.output.value).toString().trimEnd());
      }
      if (event.case === 'end' && event.value.exitCode !== 0) throw new Error(`exit code ${event.value.exitCode}`);
    }
  } catch (error) {
    const view = await host.journal.read(vmId);
    const tail = await consoleTail(host.files.sandbox(vmId).console);
    print(`that failed; the VM is ${view?.path ?? 'gone'}, its console ends with:\n${tail}`);
    throw error;
  }
}

/** The last free one: a running agent takes the first ones. */
async function freeSlot({ first, last }: AgentSettings['WRENN_SLOTS']): Promise<number> {
  const used = new Set((await slotList({ first, last })).map(({ index }) => index));
  for (let index = last; index >= first; index--) if (!used.has(index)) return index;
  throw new Error(`every slot of ${first}-${last} is in use`);
}

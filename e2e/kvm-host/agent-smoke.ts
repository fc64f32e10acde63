/**
 * The whole agent in the box, as `WRENN_VMM` and `WRENN_DISKS` say: a sandbox lives through a pause, a fork and the death
 * of its agent, and nothing is left of it. Ends with 1 where something is not so.
 *
 *     node e2e/kvm-host/agent-smoke.ts FOLDER
 */
import { deepEqual, equal, ok } from 'node:assert/strict';
import { readdir, readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { argv, env, exit, kill } from 'node:process';
import { setTimeout as sleep } from 'node:timers/promises';
import { dmDiskList } from '@wrenn/addon';
import { type VmReport, VmStatus } from '@wrenn/proto/hostagent/v1/hostagent_pb';
import { AgentFiles } from '../../agent/src/files.ts';
import { memoryStats } from '../../agent/src/vmm/memory-server.ts';
import { AgentProcess, AgentRoot, command as commandOf, newSandboxId, SPEC } from '../../agent/test/agent-process.ts';
import { GuestShell } from '../../agent/test/guest-memory.ts';
import { holdings } from '../../agent/test/leaks.ts';

const SLOTS = { first: 1, last: 9 };
const CHILDREN = 2;
const POLL_MS = 200;
/** Everything in here is some ten times slower than on a machine of its own, and more on a busy one. */
const BUDGET_MS = 480_000;
const SETTINGS = Object.fromEntries(
  ['WRENN_VMM', 'WRENN_DISKS', 'WRENN_FIRECRACKER_BIN'].flatMap((name) => (env[name] ? [[name, env[name]]] : [])),
);

const root = await AgentRoot.make(SLOTS, argv[2]);
const files = new AgentFiles(root.folder);
let agent = await AgentProcess.start(root, SETTINGS);
let code = 1;
try {
  await lifeOfASandbox();
  code = 0;
} catch (error) {
  console.error(error);
  for (const name of await readdir(join(root.folder, 'sandboxes'))) {
    for (const log of ['vmm.log', 'console.log']) {
      const text = await readFile(join(root.folder, 'sandboxes', name, log), 'utf8').catch(() => '');
      console.error(`--- ${name}/${log}\n${text.slice(-2_000)}`);
    }
  }
}
exit(code);

function says(what: string): void {
  console.log(`--- ${what}, ${Math.round(performance.now() / 1000)} s`);
}

async function lifeOfASandbox(): Promise<void> {
  const guest = await create(newSandboxId());
  const { sandboxId } = guest;
  says('created');
  await guest.hold();
  await isPrefetched(guest, false);
  await guest.run('echo kept > ~/file; head -c 300000 /dev/urandom > ~/blob; md5sum ~/blob > ~/sum; sync');
  let count = await guest.holds();

  const paused = await agent.client.pauseSandbox({ command: command(sandboxId, 1) });
  reported(paused.report, VmStatus.PAUSED);
  deepEqual(await held(), { vmms: [], cgroups: [], disks: [] });
  const resumed = await agent.client.resumeSandbox({
    ...{ command: command(sandboxId, 2), spec: SPEC, fromIncarnation: 1 },
  });
  reported(resumed.report, VmStatus.READY);
  says('paused and resumed');
  const second = await create(newSandboxId());
  await second.run('true');
  await isPrefetched(second, true);
  await agent.client.destroySandbox({ command: command(second.sandboxId) });
  count = await guest.holds(count);
  equal((await guest.run('cat ~/file; md5sum -c ~/sum')).split('\n')[0], 'kept');

  const fork = { command: command(sandboxId, 2), snapshotId: 'fork', children: CHILDREN };
  reported((await agent.client.forkSandbox(fork)).report, VmStatus.READY);
  await guest.run('echo parent > ~/own; sync');
  for (let child = 1; child <= CHILDREN; child++) {
    const born = await create(newSandboxId(), 'fork');
    await born.holds(count);
    await isPrefetched(born, child > 1);
    equal(await born.run('cat ~/file; ls ~/own 2>/dev/null || echo none'), 'kept\nnone');
    await agent.client.destroySandbox({ command: command(born.sandboxId) });
  }
  await agent.client.deleteSnapshot({ snapshotId: 'fork', epoch: 1n });
  count = await guest.holds(count);
  says('forked');

  await agent.kill();
  agent = await AgentProcess.start(root, SETTINGS);
  await until('the VM is adopted', async () => (await reportOf(sandboxId))?.status === VmStatus.READY);
  count = await guest.holds(count);
  says('adopted');

  // What changed since the fork is stored with what changed before it.
  reported((await agent.client.pauseSandbox({ command: command(sandboxId, 2) })).report, VmStatus.PAUSED);
  const again = { command: command(sandboxId, 3), spec: SPEC, fromIncarnation: 2 };
  reported((await agent.client.resumeSandbox(again)).report, VmStatus.READY);
  await guest.holds(count);
  equal(await guest.run('cat ~/file ~/own; md5sum -c ~/sum >/dev/null'), 'kept\nparent');
  says('paused and resumed again');

  const server = await memoryServer(`${sandboxId}.3`);
  if (server === null) {
    await agent.client.destroySandbox({ command: command(sandboxId, 3) });
  } else {
    // SN6: a VM whose memory nobody serves would hang.
    kill(server, 'SIGKILL');
    // What it was resumed from is left.
    await until('it is told of as ended', async () => (await reportOf(sandboxId))?.incarnation === 2);
    equal((await reportOf(sandboxId))?.status, VmStatus.PAUSED);
    says('ended with its memory server');
  }
  await agent.terminate();
  deepEqual(await held(), { vmms: [], cgroups: [], disks: [] });
  await root.remove();
  says('nothing is left');
}

function command(sandboxId: string, incarnation = 1): ReturnType<typeof commandOf> {
  return { ...commandOf(sandboxId, incarnation), budgetMs: BUDGET_MS };
}

async function create(sandboxId: string, snapshotId = ''): Promise<GuestShell> {
  const { report } = await agent.client.createSandbox({ command: command(sandboxId), spec: SPEC, snapshotId });
  reported(report, VmStatus.READY);
  return new GuestShell(() => agent, sandboxId);
}

function reported(report: VmReport | undefined, status: VmStatus): void {
  ok(report?.status === status, `${VmStatus[report?.status ?? 0]}: ${report?.code} ${report?.message}`);
}

async function reportOf(sandboxId: string): Promise<VmReport | undefined> {
  return (await agent.client.inspectSandbox({ sandboxId })).report;
}

async function held(): Promise<{ vmms: number[]; cgroups: string[]; disks: string[] }> {
  const { vmms, cgroups } = await holdings(root);
  return { vmms, cgroups, disks: await dmDiskList() };
}

/** The process that gives this VM its memory; null where its VMM maps it. */
async function memoryServer(vmId: string): Promise<number | null> {
  const text = await readFile(join(root.folder, 'sandboxes', vmId, 'faults.json'), 'utf8').catch(() => null);
  return text === null ? null : JSON.parse(text).pid;
}

/** SN6: the first VM of a snapshot shows what the others get ahead of their asking; it itself gets nothing. */
async function isPrefetched({ sandboxId }: GuestShell, expected: boolean): Promise<void> {
  const stats = await memoryStats(files.sandbox(`${sandboxId}.1`));
  if (stats === null) return; // its VMM maps its memory
  says(`faults ${stats.faults}, of these zeros ${stats.zeros}, prefetched ${stats.prefetched}`);
  equal(stats.prefetched > 0, expected);
}

async function until(what: string, holds: () => Promise<boolean>): Promise<void> {
  const patience = AbortSignal.timeout(BUDGET_MS);
  while (!(await holds())) {
    if (patience.aborted) throw new Error(`${what}: not so`);
    await sleep(POLL_MS);
  }
}

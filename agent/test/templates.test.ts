import { execFile } from 'node:child_process';
import { open, readdir, readFile, realpath, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { type VmReport, VmStatus } from '@wrenn/proto/hostagent/v1/hostagent_pb';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { rehearseTemplate } from '../src/effects/rehearse.ts';
import { Guest } from '../src/guest/guest.ts';
import { AgentProcess, AgentRoot, command, newSandboxId, SPEC } from './agent-process.ts';
import { GuestShell } from './guest-memory.ts';
import { journalOf } from './journal.ts';
import { endAgent, holdings } from './leaks.ts';

/** Some boots and restores on a busy machine with two cores. */
const TIMEOUT_MS = 240_000;
const MIB = 1 << 20;
const GIB = 2 ** 30;
/** What the control plane reserves for a VMM beside the guest's memory, and what its control group allows. */
const VMM_LIMIT_MB = 128;

const run = promisify(execFile);
let root: AgentRoot;
let agent: AgentProcess;

beforeAll(async () => {
  root = await AgentRoot.make({ first: 9250, last: 9259 });
  agent = await AgentProcess.start(root);
}, TIMEOUT_MS);

afterAll(() => endAgent(root, agent), TIMEOUT_MS);

async function start(spec: Partial<typeof SPEC> = {}): Promise<VmReport> {
  const { report } = await agent.client.createSandbox({
    ...{ command: command(newSandboxId()), spec: { ...SPEC, ...spec } },
  });
  if (report === undefined) throw new Error('no report');
  return report;
}

async function create(teamId = SPEC.teamId): Promise<string> {
  const { status, sandboxId, code, message } = await start({ teamId });
  if (status !== VmStatus.READY) throw new Error(`not ready: ${code} ${message}`);
  await new GuestShell(() => agent, sandboxId).run('true');
  return sandboxId;
}

const destroy = (sandboxId: string) => agent.client.destroySandbox({ command: command(sandboxId) });
const snapshots = () => readdir(join(root.folder, 'snapshots'));
const boots = async () =>
  (await journalOf(agent)).filter(({ id, event }) => id.startsWith('boot.') && event.type === 'CREATE').length;

/** What the kernel says of a VMM's mapping of its guest's memory, and of all the rest that it has. */
interface MemoryOfVmm {
  /** The file that is mapped, by device and inode: who maps the same shares its pages. */
  readonly file: string;
  readonly guestRssMb: number;
  readonly guestOwnMb: number;
  readonly restOwnMb: number;
}

async function memoryOf(sandboxId: string): Promise<MemoryOfVmm> {
  const files = new Set<string>();
  let [guestRss, guestOwn, restOwn] = [0, 0, 0];
  let isGuest = false;
  for (const line of (await readFile(`/proc/${await vmmOf(sandboxId)}/smaps`, 'utf8')).split('\n')) {
    const mapping = /^[0-9a-f]+-[0-9a-f]+ \S+ \S+ (\S+) (\d+) +(.*)$/.exec(line);
    if (mapping !== null) {
      isGuest = mapping[3]?.endsWith('/base.mem') ?? false;
      if (isGuest) files.add(`${mapping[1]} ${mapping[2]}`);
    }
    const [, name, kilobytes] = /^(Rss|Anonymous): +(\d+) kB$/.exec(line) ?? [];
    if (name === 'Rss' && isGuest) guestRss += Number(kilobytes);
    if (name === 'Anonymous' && isGuest) guestOwn += Number(kilobytes);
    if (name === 'Anonymous' && !isGuest) restOwn += Number(kilobytes);
  }
  expect(files.size).toBe(1);
  const [guestRssMb = 0, guestOwnMb = 0, restOwnMb = 0] = [guestRss, guestOwn, restOwn].map((kb) => kb / 1024);
  return { file: [...files].join(), guestRssMb, guestOwnMb, restOwnMb };
}

async function vmmOf(sandboxId: string): Promise<number> {
  for (const pid of (await holdings(root)).vmms) {
    const environment = await readFile(`/proc/${pid}/environ`, 'latin1');
    if (environment.includes(`WRENN_VM=${sandboxId}.1`)) return pid;
  }
  throw new Error(`${sandboxId} has no VMM`);
}

test(
  'SN14: an image that does not start fails every create that waits for its boot snapshot, once; each later one tries once more',
  async () => {
    const image = await open(join(root.folder, 'images/broken.ext4'), 'w');
    await image.truncate(64 * MIB);
    await image.close();
    const fails = async () => {
      const { status, code, message } = await start({ template: 'broken' });
      expect({ status, code }).toEqual({ status: VmStatus.GONE, code: 'vmm_exited' });
      expect(message).toContain('the boot snapshot of the template broken could not be made');
    };
    await Promise.all([fails(), fails(), fails()]);
    expect(await boots()).toBe(1);
    await fails();
    expect(await boots()).toBe(2);
    expect(await snapshots()).toEqual([]);
    expect(await holdings(root)).toMatchObject({ vmms: [], cgroups: [], folders: [] });
  },
  TIMEOUT_MS,
);

test(
  'SN14, memory accounting: sandboxes of a template share its pages; what an idle one has for itself is a fraction of its memory',
  async () => {
    const guests = [await create('team-a'), await create('team-b'), await create('team-a')];
    const all = await Promise.all(guests.map(memoryOf));
    expect(new Set(all.map(({ file }) => file)).size).toBe(1);
    for (const { guestRssMb, guestOwnMb, restOwnMb } of all) {
      console.log(
        `guest ${guestRssMb.toFixed(1)} MB, of which own ${guestOwnMb.toFixed(1)}; VMM ${restOwnMb.toFixed(1)}`,
      );
      expect(guestOwnMb).toBeGreaterThan(0);
      expect(guestOwnMb).toBeLessThan(SPEC.memoryMb / 4);
      expect(restOwnMb).toBeLessThan(VMM_LIMIT_MB);
    }
    await Promise.all(guests.map(destroy));
  },
  TIMEOUT_MS,
);

test(
  'SN14: a guest that stands frozen since an agent died in the rehearsal of a template is rehearsed by the next one',
  async () => {
    const { hostIp, sandboxId } = await start({ accessToken: '' });
    const signal = AbortSignal.timeout(60_000);
    const death = new AbortController();
    class GuestOfTheDying extends Guest {
      override async freeze(...args: Parameters<Guest['freeze']>) {
        const frozen = await super.freeze(...args);
        death.abort();
        return frozen;
      }
    }
    const cutShort = rehearseTemplate(new GuestOfTheDying(hostIp, ''), AbortSignal.any([signal, death.signal]));
    await expect(cutShort).rejects.toMatchObject({ name: 'AbortError' });
    await rehearseTemplate(new Guest(hostIp, ''), signal);
    await destroy(sandboxId);
  },
  TIMEOUT_MS,
);

test(
  'WRENN_ISOLATE_TEMPLATES: teams share no page of a template, sandboxes of one team do; without it the copies go',
  async () => {
    const shared = await snapshots();
    await agent.stop();
    agent = await AgentProcess.start(root, { WRENN_ISOLATE_TEMPLATES: '1', WRENN_WARM_POOL: 'minimal=1' });
    const before = await boots();
    const guests = await Promise.all(['team-a', 'team-b', 'team-a'].map((team) => create(team)));
    const [first, second, third] = await Promise.all(guests.map(memoryOf));
    expect(first?.file).toBe(third?.file);
    expect(first?.file).not.toBe(second?.file);
    // Copied from the one that is there, not booted anew; nothing was made ahead for nobody's team.
    expect(await boots()).toBe(before);
    expect(await snapshots()).toHaveLength(shared.length + 2);
    expect((await holdings(root)).vmms).toHaveLength(3);

    // A guest of a copy pauses and resumes as any other.
    const [sandboxId = ''] = guests;
    const guest = new GuestShell(() => agent, sandboxId);
    await guest.hold();
    const count = await guest.holds();
    await agent.client.pauseSandbox({ command: command(sandboxId) });
    await agent.stop();
    agent = await AgentProcess.start(root);
    expect(await snapshots()).toEqual(shared);
    const call = { command: command(sandboxId, 2), spec: SPEC, fromIncarnation: 1 };
    expect((await agent.client.resumeSandbox(call)).report?.status).toBe(VmStatus.READY);
    await guest.holds(count);
    await agent.client.destroySandbox({ command: command(sandboxId, 2) });
    await Promise.all(guests.slice(1).map(destroy));
  },
  TIMEOUT_MS,
);

test(
  'FS4, FS5: an image smaller than the disk stays as it is: the guest grows its file system to what was asked for',
  async () => {
    const image = join(root.folder, 'images/small.ext4');
    await run('cp', ['--sparse=always', await realpath(join(root.folder, 'images/minimal.ext4')), image]);
    await run('e2fsck', ['-fp', image]);
    await run('resize2fs', [image, '2G']);
    const before = await stat(image);
    expect(before.size).toBe(2 * GIB);
    const { status, sandboxId } = await start({ template: 'small' });
    expect(status).toBe(VmStatus.READY);
    const guest = new GuestShell(() => agent, sandboxId);
    expect(Number(await guest.run('df --output=size -BM / | tail -1 | tr -dc 0-9'))).toBeGreaterThan(18_000);
    expect((await stat(image)).mtimeMs).toBe(before.mtimeMs);
    await destroy(sandboxId);
  },
  TIMEOUT_MS,
);

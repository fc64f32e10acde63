import { readdir, readFile, readlink, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { DEVICES } from '../src/vmm/devices.ts';
import { VMM_ROOT } from '../src/vmm/view.ts';
import { AgentProcess, AgentRoot, command, newSandboxId, SPEC } from './agent-process.ts';
import { GuestShell } from './guest-memory.ts';
import { holdings } from './leaks.ts';

/** A cold boot on a busy machine with two cores. */
const TIMEOUT_MS = 240_000;

let root: AgentRoot;
let agent: AgentProcess;

beforeAll(async () => {
  root = await AgentRoot.make({ first: 9275, last: 9279 });
  agent = await AgentProcess.start(root);
}, TIMEOUT_MS);

afterAll(async () => {
  await agent?.terminate();
  await root?.remove();
}, TIMEOUT_MS);

test(
  'VM2: a VMM sees its VM, the kernels, itself and its devices, and nothing of the host',
  async () => {
    const sandboxId = newSandboxId();
    const { report } = await agent.client.createSandbox({ command: command(sandboxId), spec: SPEC });
    expect(report?.message).toBe('');
    const guest = new GuestShell(() => agent, sandboxId);
    expect(await guest.run('echo lives')).toBe('lives');
    const [pid = 0, ...others] = (await holdings(root)).vmms;
    expect(others).toEqual([]);
    const seen = (path: string) => join(`/proc/${pid}/root`, path);

    expect(await list(seen('/'))).toEqual(['dev', 'run']);
    expect(await list(seen('/run'))).toEqual(['wrenn']);
    expect(await list(seen('/run/wrenn'))).toEqual(['kernels', 'vm', 'vmm']);
    expect(await list(seen('/run/wrenn/vmm'))).toEqual(['lib', 'qemu', 'share']);
    for (const [path, host] of [
      ['vm', join(root.folder, 'sandboxes', `${sandboxId}.1`)],
      ['kernels', join(root.folder, 'kernels')],
    ] as const) {
      expect(await identity(seen(join('/run/wrenn', path)))).toEqual(await identity(host));
    }
    // Nothing is missing there.
    expect(await readFile(join(root.folder, 'sandboxes', `${sandboxId}.1`, 'vmm.log'), 'utf8')).not.toContain(
      'No such file',
    );
    // It runs from there: the loader and the program are its own copies.
    expect(await readlink(`/proc/${pid}/exe`)).toMatch(/^\/run\/wrenn\/jail\/run\/wrenn\/vmm\/lib\/ld-linux/);
    expect(await readlink(`/proc/${pid}/root`)).toBe(VMM_ROOT);
    expect(await readlink(`/proc/${pid}/cwd`)).toBe(VMM_ROOT);

    // Nodes of the devices that this VMM has; where it has none there is an empty file, root's.
    expect(await list(seen('/dev'))).toEqual(['kvm', 'net', 'null', 'urandom', 'userfaultfd']);
    expect(await list(seen('/dev/net'))).toEqual(['tun']);
    const mounted = await mountsOf(pid);
    for (const { path } of Object.values(DEVICES)) {
      const node = await stat(seen(path));
      expect({ path, device: node.isCharacterDevice(), bytes: node.size, writable: (node.mode & 0o022) !== 0 }).toEqual(
        {
          path,
          device: mounted.includes(path),
          bytes: 0,
          writable: mounted.includes(path),
        },
      );
    }
    const always = [
      '/dev/net/tun',
      '/dev/null',
      '/dev/urandom',
      '/run/wrenn/kernels',
      '/run/wrenn/vm',
      '/run/wrenn/vmm',
    ];
    expect(mounted.filter((path) => path !== '/dev/kvm')).toEqual(always);
  },
  TIMEOUT_MS,
);

async function list(folder: string): Promise<string[]> {
  return (await readdir(folder)).sort();
}

async function identity(path: string): Promise<{ dev: number; ino: number }> {
  const { dev, ino } = await stat(path);
  return { dev, ino };
}

/** What is mounted below a process's root. */
async function mountsOf(pid: number): Promise<string[]> {
  const text = await readFile(`/proc/${pid}/mountinfo`, 'utf8');
  return text
    .trimEnd()
    .split('\n')
    .map((line) => line.split(' ')[4] ?? '')
    .sort();
}

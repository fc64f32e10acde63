import { execFile } from 'node:child_process';
import { once } from 'node:events';
import { mkdtemp, readdir, rm, symlink } from 'node:fs/promises';
import { type AddressInfo, createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { cgroupList, slotList } from '@wrenn/addon';
import { afterAll, beforeAll, expect, test } from 'vitest';

const CHECKOUT = resolve(import.meta.dirname, '../..');
const BUILT = process.env.WRENN_DIR ?? join(CHECKOUT, '.wrenn/lib');
const SLOTS = { first: 9230, last: 9234 };
const TIMEOUT_MS = 180_000;

let folder: string;

beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'wrenn-demo-'));
  for (const name of ['kernels', 'images']) await symlink(join(BUILT, name), join(folder, name));
});

afterAll(() => rm(folder, { recursive: true }));

function agent(
  args: string[],
  more: Record<string, string> = {},
): Promise<{ code: number; stdout: string; stderr: string }> {
  const env = { PATH: process.env.PATH, WRENN_DIR: folder, WRENN_SLOTS: `${SLOTS.first}-${SLOTS.last}`, ...more };
  return new Promise((done) => {
    execFile(
      process.execPath,
      [join(CHECKOUT, 'agent/src/main.ts'), ...args],
      { cwd: folder, env },
      (error, stdout, stderr) => done({ code: typeof error?.code === 'number' ? error.code : 0, stdout, stderr }),
    );
  });
}

test(
  'AG7: doctor says what works here and how to mend the rest',
  async () => {
    const { code, stdout } = await agent(['doctor']);
    expect(stdout).toContain('✓ network');
    expect(stdout).toMatch(/✓ emulation: a VM ran/);
    expect(stdout).toMatch(/[✓~] KVM/);
    expect(stdout).toMatch(/[✓~] device-mapper/);
    expect(stdout).toMatch(/[✓~] user-fault handling/);
    expect(stdout).toContain('Sandboxes can run on this machine.');
    expect(code).toBe(0);
    expect(await slotList(SLOTS)).toEqual([]);
  },
  TIMEOUT_MS,
);

test(
  'AG7: doctor names what is broken, and fails',
  async () => {
    await rm(join(folder, 'images'));
    try {
      const { code, stdout } = await agent(['doctor']);
      expect(stdout).toMatch(/✗ images: .*\n\s+To mend it: /);
      expect(stdout).toContain('Sandboxes cannot run on this machine yet.');
      expect(code).toBe(1);
    } finally {
      await symlink(join(BUILT, 'images'), join(folder, 'images'));
    }
  },
  TIMEOUT_MS,
);

test(
  'AG7: demo boots a VM, runs echo hello in it, and leaves nothing',
  async () => {
    const { code, stdout, stderr } = await agent(['demo']);
    expect(stderr).toBe('');
    expect(stdout).toMatch(/VMM: qemu \d+\.\d+/);
    expect(stdout).toMatch(/\$ echo hello\nhello\n/);
    expect(stdout).toContain('cleaned up');
    expect(code).toBe(0);
    expect(await slotList(SLOTS)).toEqual([]);
    expect((await cgroupList()).filter((name) => /^slot-923[0-4]$/.test(name))).toEqual([]);
    expect((await readdir(folder)).sort()).toEqual(['images', 'kernels']);
  },
  TIMEOUT_MS,
);

test(
  'an agent that cannot listen, or cannot register, ends with words and leaves nothing',
  async () => {
    const taken = createServer().listen(0, '127.0.0.1');
    await once(taken, 'listening');
    const { port } = taken.address() as AddressInfo;
    const cannotListen = await agent(['run'], { WRENN_AGENT_LISTEN: `127.0.0.1:${port}` });
    expect([cannotListen.code, cannotListen.stderr]).toEqual([1, expect.stringContaining('listen')]);
    const nobody = { WRENN_AGENT_LISTEN: '127.0.0.1:0', WRENN_CP_URL: `http://127.0.0.1:${port}` };
    taken.close();
    const cannotRegister = await agent(['--register', 'token', '--address', '127.0.0.1:1'], nobody);
    expect([cannotRegister.code, cannotRegister.stderr]).toEqual([1, expect.stringContaining('fetch failed')]);
    expect(await slotList(SLOTS)).toEqual([]);
  },
  TIMEOUT_MS,
);

test(
  'a command line or a setting that cannot be used ends it with words',
  async () => {
    const wrong = await agent(['walk']);
    expect([wrong.code, wrong.stderr]).toEqual([2, expect.stringContaining('unknown command "walk"')]);
    expect((await agent(['--help'])).stdout).toContain('wrenn-agent demo');
  },
  TIMEOUT_MS,
);

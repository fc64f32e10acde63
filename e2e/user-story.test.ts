import { createHash, randomBytes } from 'node:crypto';
import { Sandbox } from '@wrenn/sdk';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { type Api, apiOf } from './testing/api.ts';
import { hostState } from './testing/host-state.ts';
import { sharedStack } from './testing/shared-stack.ts';
import { isBuilt, type Stack } from './testing/stack.ts';

/** The first five minutes of a user, with a real VM: every row of API1–API3, API11 and X2 that they touch. */
describe.runIf(isBuilt)('a user', () => {
  let stack: Stack;
  let api: Api;
  let sandbox: Sandbox;

  beforeAll(async () => {
    stack = await sharedStack();
    api = apiOf(stack);
    const connection = { apiUrl: stack.url, apiKey: stack.apiKey };
    sandbox = await Sandbox.create({ ...connection, labels: { story: 'first' }, envs: { GREETING: 'ahoj' } });
  });
  afterAll(async () => {
    await sandbox?.kill().catch(() => undefined);
  });

  test('has a running sandbox with its own host name, address and disk', async () => {
    const { body } = await api('GET', `/v1/sandboxes/${sandbox.id}`);
    expect(body).toMatchObject({ status: 'running', template: 'minimal', guest_ip: '169.254.0.21' });
    expect(body.host_ip).toMatch(/^10\.11\.\d+\.\d+$/);
    expect((await sandbox.commands.run('hostname')).stdout.trim()).toBe(sandbox.id);
    const size = await sandbox.commands.run('sh', ['-c', 'df --output=size -BM / | tail -1']);
    expect(Number.parseInt(size.stdout, 10)).toBeGreaterThan(18_000); // FS4: 20 GB less what ext4 takes
  });

  test('runs python3 as `user`, with the environment of create', async () => {
    const script = 'import os, getpass; print(6 * 7, getpass.getuser(), os.environ["GREETING"], os.getcwd())';
    const result = await sandbox.commands.run('python3', ['-c', script]);
    expect(result).toMatchObject({ stdout: '42 user ahoj /home/user\n', stderr: '', exitCode: 0 });
  });

  test('streams a long command', async () => {
    const seen: number[] = [];
    const begun = Date.now();
    const script = 'for i in 1 2 3 4 5; do echo $i; sleep 0.4; done';
    const result = await sandbox.commands.run('sh', ['-c', script], {
      onStdout: () => void seen.push(Date.now() - begun),
    });
    expect(result.stdout).toBe('1\n2\n3\n4\n5\n');
    expect((seen.at(-1) ?? 0) - (seen[0] ?? 0)).toBeGreaterThan(1_200);
  });

  test.each([0, 1, 200_000_000])('writes and reads a file of %i bytes', { timeout: 300_000 }, async (size) => {
    const bytes = randomBytes(size);
    const digest = createHash('sha256').update(bytes).digest('hex');
    await sandbox.files.write(`data/${size}.bin`, bytes);
    const inside = await sandbox.commands.run('sha256sum', [`/home/user/data/${size}.bin`], { timeoutSec: 120 });
    expect(inside.stdout).toContain(digest);
    const back = await sandbox.files.read(`data/${size}.bin`);
    expect(createHash('sha256').update(back).digest('hex')).toBe(digest);
  });

  test('lists, labels and pings', async () => {
    const before = (await api('GET', `/v1/sandboxes/${sandbox.id}`)).body;
    expect(
      (await api('GET', '/v1/sandboxes?label=story=first')).body.items.map((item: { id: string }) => item.id),
    ).toEqual([sandbox.id]);
    const patched = await api('PATCH', `/v1/sandboxes/${sandbox.id}`, { labels: { story: 'second' } });
    expect(patched.body.labels).toEqual({ story: 'second' });
    expect((await api('POST', `/v1/sandboxes/${sandbox.id}/ping`)).status).toBe(204);
    const after = (await api('GET', `/v1/sandboxes/${sandbox.id}`)).body;
    expect(Date.parse(after.last_active_at)).toBeGreaterThan(Date.parse(before.last_active_at));
  });

  test('reads its journal, and that of its VM on the host', async () => {
    const types = async (path: string) =>
      (await api('GET', `/v1/actors/${path}/journal`)).body.items
        .filter(({ outcome }: { outcome: string }) => outcome === 'transition')
        .map(({ event }: { event: { type: string } }) => event.type);
    expect(await types(`sandbox/${sandbox.id}`)).toEqual(
      expect.arrayContaining(['CREATE', 'RESERVED', 'VM_READY', 'PATCH', 'PING']),
    );
    await expect
      .poll(() => types(`vm/${sandbox.id}.1`))
      .toEqual(
        expect.arrayContaining(['CREATE', 'ADMITTED', 'SLOT_READY', 'ROOTFS_READY', 'VMM_STARTED', 'GUEST_READY']),
      );
    const journal = JSON.stringify((await api('GET', `/v1/actors/vm/${sandbox.id}.1/journal`)).body);
    expect(journal).not.toContain('ahoj');
  });

  test('destroys it, and nothing is left (I5, I6)', async () => {
    await sandbox.kill();
    const { body } = await api('GET', `/v1/sandboxes/${sandbox.id}`);
    expect(body).toMatchObject({ status: 'stopped', reason: { code: 'destroyed' }, legal_commands: [] });
    const state = await hostState(stack.settings);
    expect(state).toMatchObject({ vmms: [], sandboxFolders: [], cgroups: [], mounts: [], loops: [] });
  });
});

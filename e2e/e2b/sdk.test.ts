import { Sandbox } from 'e2b';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { fetchText } from '../testing/sandbox-http.ts';
import { sharedStack } from '../testing/shared-stack.ts';
import { isBuilt, type Stack } from '../testing/stack.ts';

/**
 * The published `e2b` package against a stack, over plain HTTP and its routing headers (X1). By host names over TLS, its
 * own suite runs with `run-suite.ts`.
 */
describe.runIf(isBuilt)('a program written for e2b', () => {
  let stack: Stack;
  let options: { apiKey: string; apiUrl: string; sandboxUrl: string };
  let sandbox: Sandbox;

  beforeAll(async () => {
    stack = await sharedStack();
    options = { apiKey: stack.apiKey.replace('wrn_', 'e2b_'), apiUrl: stack.url, sandboxUrl: stack.url };
    sandbox = await Sandbox.create({
      ...options,
      metadata: { story: 'e2b' },
      envs: { GREETING: 'ahoj' },
      timeoutMs: 300_000,
    });
  });
  afterAll(async () => {
    await sandbox?.kill().catch(() => undefined);
  });

  test('runs commands with its environment, and sees their end', async () => {
    const result = await sandbox.commands.run('echo $GREETING from $(whoami)');
    expect(result).toMatchObject({ stdout: 'ahoj from user\n', exitCode: 0 });
    await expect(sandbox.commands.run('exit 3')).rejects.toMatchObject({ exitCode: 3 });
  });

  test('writes, reads and lists files', async () => {
    await sandbox.files.write('notes/a.txt', 'hello');
    expect(await sandbox.files.read('notes/a.txt')).toBe('hello');
    expect((await sandbox.files.list('notes')).map(({ name }) => name)).toEqual(['a.txt']);
  });

  test('is listed by its metadata, prolonged, and looked at', async () => {
    const query = { metadata: { story: 'e2b' } };
    const [listed] = await Sandbox.list({ ...options, query }).nextItems();
    expect(listed).toMatchObject({ sandboxId: sandbox.sandboxId, state: 'running', metadata: query.metadata });
    await sandbox.setTimeout(600_000);
    expect((await sandbox.getInfo()).endAt.getTime() - Date.now()).toBeGreaterThan(590_000);
    expect(Array.isArray(await sandbox.getMetrics())).toBe(true);
  });

  test('serves a port by the routing headers and by its host name', async () => {
    await sandbox.commands.run('python3 -m http.server 8000', { background: true });
    const id = sandbox.sandboxId;
    const byHost = () => fetchText(stack, `8000-${id}.${stack.settings.domain}`);
    await expect.poll(async () => (await byHost()).status, { timeout: 60_000 }).toBe(200);
    const headers = { 'e2b-sandbox-id': id, 'e2b-sandbox-port': '8000' };
    expect((await fetchText(stack, new URL(stack.url).host, { headers })).status).toBe(200);
    expect(sandbox.getHost(8000)).toBe(`8000-${id}.${stack.settings.domain}`);
  });

  test('is paused, connected to with its processes alive, and killed once', async () => {
    const command = await sandbox.commands.run('sleep 1000', { background: true });
    expect(await sandbox.pause()).toBe(true);
    expect(await sandbox.pause()).toBe(false);
    expect(await sandbox.isRunning()).toBe(false);
    const back = await Sandbox.connect(sandbox.sandboxId, options);
    expect((await back.commands.list()).map(({ pid }) => pid)).toContain(command.pid);
    expect(await back.kill()).toBe(true);
    expect(await Sandbox.kill(sandbox.sandboxId, options)).toBe(false);
    await expect(Sandbox.connect(sandbox.sandboxId, options)).rejects.toMatchObject({ name: 'SandboxNotFoundError' });
  });
});

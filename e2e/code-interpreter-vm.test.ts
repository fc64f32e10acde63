import { Sandbox } from '@e2b/code-interpreter';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { type Api, apiOf } from './testing/api.ts';
import { Interpreter, mainResult } from './testing/interpreter.ts';
import { interpreterImage, sayWhySkipped } from './testing/interpreter-image.ts';
import { NOTEBOOK, NOTEBOOK_OUTPUT, runNotebook } from './testing/notebook.ts';
import { sharedStack } from './testing/shared-stack.ts';
import { isBuilt, type Stack } from './testing/stack.ts';

sayWhySkipped('code-interpreter-vm.test.ts');

/** A cold boot of this image, for the template's boot snapshot, takes minutes under emulation. */
const START_LIMIT_MS = 700_000;

/** The image in a real VM: what init, agent and gateway do for it. What the service does is tested in a chroot. */
describe.runIf(isBuilt && interpreterImage !== null)('a sandbox of code-interpreter', () => {
  let stack: Stack;
  let sandbox: Sandbox;
  let hostIp: string;
  let api: Api;

  beforeAll(async () => {
    stack = await sharedStack();
    api = apiOf(stack);
    sandbox = await Sandbox.create('code-interpreter-v1', {
      apiKey: stack.apiKey.replace(/^wrn_/, 'e2b_'),
      apiUrl: stack.url,
      sandboxUrl: stack.url,
      requestTimeoutMs: START_LIMIT_MS,
      timeoutMs: START_LIMIT_MS * 2,
      envs: { GREETING: 'ahoj' },
    });
    const { body } = await api('GET', `/v1/sandboxes/${sandbox.sandboxId}`);
    expect(body.memory_mb).toBe(1024);
    hostIp = body.host_ip;
    await api('PATCH', `/v1/sandboxes/${sandbox.sandboxId}`, { auto_resume: true });
  }, START_LIMIT_MS);
  afterAll(async () => {
    if (sandbox) await api('DELETE', `/v1/sandboxes/${sandbox.sandboxId}`);
  });

  test('TPL7: is ready to run code when the create is answered, and runs it as `user`', async () => {
    const interpreter = new Interpreter(`http://${hostIp}:49999`);
    const events = await interpreter.run({ code: 'import getpass, sys; (getpass.getuser(), "pandas" in sys.modules)' });
    expect(mainResult(events)).toBe("('user', True)");
  });

  test('X1: the SDK runs code through the gateway, with the variables of create', async () => {
    expect((await sandbox.runCode('import os; os.environ["GREETING"]')).text).toBe('ahoj');
    expect((await sandbox.runCode('process.env.GREETING', { language: 'js' })).text).toBe('ahoj');
    const [figure] = (await sandbox.runCode('import matplotlib.pyplot as plt; plt.plot([1, 2]); plt.show()')).results;
    expect(figure?.png).toMatch(/^iVBOR/);
    expect(figure?.chart).toMatchObject({ type: 'line' });
  });

  test('SN11: after a resume no random generator goes on where it was', async () => {
    const draw = async (code: string, language?: 'js') => (await sandbox.runCode(code, language && { language })).text;
    const seeded = 'import random; random.seed(1); random.random()';
    const first = await draw(seeded);
    expect(await draw(seeded)).toBe(first);
    await draw('random.seed(1)');
    await sandbox.commands.run('/etc/wrenn/resume.d/code-interpreter', { user: 'root' });
    expect(await draw('random.random()')).not.toBe(first);
    expect(await draw('Math.random.toString().includes("native code")', 'js')).toBe('false');
  });

  test("PX4: Jupyter's own client goes on with its kernel after a pause that its request ends", async () => {
    const url = `http://8888-${sandbox.sandboxId}.localhost:${new URL(stack.url).port}`;
    const run = (cells: readonly string[], kernel?: string) =>
      runNotebook(interpreterImage as string, url, { cells, keep: true, ...(kernel && { kernel }) });
    const first = await run(NOTEBOOK);
    expect(first.cells).toEqual(NOTEBOOK_OUTPUT);
    await sandbox.runCode('y = 40');

    await sandbox.pause();
    expect((await api('GET', `/v1/sandboxes/${sandbox.sandboxId}`)).body.status).toBe('paused');
    const second = await run(['print(x + 2)', 'plt.plot([3, 4]); plt.show()'], first.kernel);
    expect(second.kernel).toBe(first.kernel);
    expect(second.cells).toEqual([
      { count: 1, outputs: ['22\n'] },
      { count: 2, outputs: [['application/vnd.wrenn.chart+json', 'image/png', 'text/plain']] },
    ]);

    await sandbox.pause();
    expect((await sandbox.runCode('y + 2')).text).toBe('42');
    const { status, host_ip } = (await api('GET', `/v1/sandboxes/${sandbox.sandboxId}`)).body;
    expect(status).toBe('running');
    hostIp = host_ip;
  });

  test('VM5: its services are in the control group that envd freezes, and start again when they end', async () => {
    const members = await sandbox.commands.run('cat /sys/fs/cgroup/wrenn.services/code-interpreter/cgroup.procs');
    const pids = members.stdout.trim().split('\n');
    expect(pids.length).toBeGreaterThanOrEqual(3); // the server and two kernels
    await sandbox.commands.run(`kill -KILL ${pids[0]}`, { user: 'root' });
    const gone = pids.map((pid) => `! kill -0 ${pid}`).join(' && ');
    await expect
      .poll(async () => (await sandbox.commands.run(`${gone}; echo $?`, { user: 'root' })).stdout)
      .toBe('0\n');
    const interpreter = new Interpreter(`http://${hostIp}:49999`);
    await expect
      .poll(() => interpreter.run({ code: '1 + 1' }).then(mainResult, () => 'away'), { timeout: START_LIMIT_MS })
      .toBe('2');
  });

  test('VM5: text is UTF-8, and /tmp is on the disk', async () => {
    const { stdout } = await sandbox.commands.run('echo "$LANG"; stat -f -c %T /tmp; stat -c %a /tmp');
    expect(stdout).toBe('C.UTF-8\next2/ext3\n1777\n');
  });
});

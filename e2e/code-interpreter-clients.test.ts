import { Sandbox } from '@e2b/code-interpreter';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { InterpreterChroot } from './testing/interpreter-chroot.ts';
import { interpreterImage, sayWhySkipped } from './testing/interpreter-image.ts';
import { NOTEBOOK, NOTEBOOK_OUTPUT, runNotebook } from './testing/notebook.ts';

sayWhySkipped('code-interpreter-clients.test.ts');

/** Clients that others have written, unmodified, against the image's service in a chroot. */
describe.runIf(interpreterImage !== null)('the code interpreter', () => {
  const image = interpreterImage as string;
  let chroot: InterpreterChroot;
  let sandbox: Sandbox;

  beforeAll(async () => {
    chroot = await InterpreterChroot.start(image);
    // In its debug mode the SDK asks no control plane and talks to this address.
    sandbox = await Sandbox.create({ debug: true, sandboxUrl: chroot.interpreter.url });
  });
  afterAll(() => chroot?.stop());

  test('X1: the SDK runs code, streams its output and reads its results', async () => {
    const lines: string[] = [];
    const execution = await sandbox.runCode('print("a")\nx = 1\nx', {
      onStdout: ({ line }) => void lines.push(line),
    });
    expect(execution.text).toBe('1');
    expect(execution.logs).toEqual({ stdout: ['a\n'], stderr: [] });
    expect(lines).toEqual(['a\n']);
    expect((await sandbox.runCode('x += 1; x')).text).toBe('2');
    expect((await sandbox.runCode('import os; os.getenv("A")', { envs: { A: 'b' } })).text).toBe('b');
    expect((await sandbox.runCode('[1, 2].map((n) => n * 2)', { language: 'js' })).text).toBe('[ 2, 4 ]');
  });

  test('X1: the SDK shows errors, and those of a kernel that dies', async () => {
    const { error } = await sandbox.runCode('int("x")');
    expect(error).toMatchObject({ name: 'ValueError', value: expect.stringContaining('invalid literal') });
    const context = await sandbox.createCodeContext();
    const died = await sandbox.runCode('import os; os._exit(1)', { context });
    expect(died.error?.name).toBe('KernelDied');
    expect((await sandbox.runCode('1 + 1', { context })).text).toBe('2');
    await sandbox.removeCodeContext(context);
  });

  test('X1: the SDK reads plots and data frames', async () => {
    const code = 'import matplotlib.pyplot as plt\nplt.bar(["a", "b"], [1, 2]); plt.title("T"); plt.show()';
    const [figure] = (await sandbox.runCode(code)).results;
    expect(figure?.png).toMatch(/^iVBOR/);
    expect(figure?.chart).toMatchObject({ type: 'bar', title: 'T' });
    const [frame] = (await sandbox.runCode('import pandas as pd\npd.DataFrame({"a": [1, 2]})')).results;
    expect(frame?.data).toEqual({ a: [1, 2] });
    expect(frame?.formats()).toEqual(expect.arrayContaining(['html', 'data']));
  });

  test('X1: the SDK makes, lists, restarts and removes contexts', async () => {
    const context = await sandbox.createCodeContext({ cwd: '/tmp', language: 'python' });
    expect(context).toMatchObject({ language: 'python', cwd: '/tmp' });
    expect((await sandbox.runCode('import os; y = 1; os.getcwd()', { context })).text).toBe('/tmp');
    expect((await sandbox.listCodeContexts()).map(({ id }) => id)).toContain(context.id);
    await sandbox.restartCodeContext(context);
    expect((await sandbox.runCode('y', { context })).error?.name).toBe('NameError');
    await sandbox.removeCodeContext(context);
    expect((await sandbox.listCodeContexts()).map(({ id }) => id)).not.toContain(context.id);
    await expect(sandbox.runCode('1', { context })).rejects.toThrow(/no context/);
  });

  test('X1: what the SDK gives up after its timeout is interrupted', async () => {
    const context = await sandbox.createCodeContext();
    await expect(sandbox.runCode('while True: pass', { context, timeoutMs: 500 })).rejects.toThrow();
    expect((await sandbox.runCode('"free"', { context })).text).toBe('free');
    await sandbox.removeCodeContext(context);
  });

  test("PX4: Jupyter's own client runs a notebook over a kernel's WebSocket", async () => {
    const { cells } = await runNotebook(image, chroot.jupyterUrl, { cells: NOTEBOOK });
    expect(cells).toEqual(NOTEBOOK_OUTPUT);
  });

  test("PX4: Jupyter's own client comes back to its kernel", async () => {
    const first = await runNotebook(image, chroot.jupyterUrl, { cells: ['x = 20'], keep: true });
    const second = await runNotebook(image, chroot.jupyterUrl, { cells: ['print(x + 2)'], kernel: first.kernel });
    expect(second).toEqual({ cells: [{ count: 1, outputs: ['22\n'] }], kernel: first.kernel });
  });

  test('PX4: pages of other origins get nothing from the Jupyter server', async () => {
    const headers = { origin: 'https://other.example', 'content-type': 'application/json' };
    const response = await fetch(`${chroot.jupyterUrl}/api/kernels`, { method: 'POST', headers, body: '{}' });
    expect(response.status).toBe(404);
  });
});

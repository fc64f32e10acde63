import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { errorOf, type Interpreter, mainResult, stdout } from './testing/interpreter.ts';
import { InterpreterChroot } from './testing/interpreter-chroot.ts';
import { interpreterImage, sayWhySkipped } from './testing/interpreter-image.ts';

sayWhySkipped('code-interpreter.test.ts');

/** The service of the image with its real Jupyter server and kernels, in a chroot of the image. */
describe.runIf(interpreterImage !== null)('the execution service', () => {
  let chroot: InterpreterChroot;
  let interpreter: Interpreter;

  beforeAll(async () => {
    chroot = await InterpreterChroot.start(interpreterImage as string);
    interpreter = chroot.interpreter;
  });
  afterAll(() => chroot?.stop());

  test('TPL7: is ready with a Python and a JavaScript context', async () => {
    expect(await (await interpreter.call('GET', '/health')).text()).toBe('OK');
    const contexts = await (await interpreter.call('GET', '/contexts')).json();
    expect(contexts).toHaveLength(2);
    expect(contexts).toEqual(
      expect.arrayContaining([
        expect.objectContaining({ language: 'python', cwd: '/home/user' }),
        expect.objectContaining({ language: 'javascript', cwd: '/home/user' }),
      ]),
    );
  });

  test('TPL7: streams output, the number of the run and its result, as `user`', async () => {
    const code = 'import getpass, sys\nprint("out")\nprint("err", file=sys.stderr)\ngetpass.getuser()';
    const events = await interpreter.run({ code });
    expect(events.map(({ type }) => type).sort()).toEqual([
      ...['end_of_execution', 'number_of_executions', 'result', 'stderr', 'stdout'],
    ]);
    expect(events.at(-1)?.type).toBe('end_of_execution');
    expect(stdout(events)).toBe('out\n');
    expect(mainResult(events)).toBe('user'); // a string is shown without its quotes
    const [first, second] = [events, await interpreter.run({ code: 'None' })].map(
      (run) => run.find(({ type }) => type === 'number_of_executions')?.execution_count,
    );
    expect(second).toBe(first + 1);
  });

  test('TPL7: output comes while the code runs', async () => {
    const { id } = await interpreter.createContext('python');
    const file = `/tmp/seen-${id}`;
    const code = `import os, time\nprint("a", flush=True)\nwhile not os.path.exists("${file}"): time.sleep(0.01)\nprint("b")`;
    const lines: string[] = [];
    for await (const event of interpreter.stream({ code })) {
      if (event.type !== 'stdout') continue;
      lines.push(event.text);
      // It goes on only when its first line has been seen.
      if (lines.length === 1) await interpreter.run({ code: `open("${file}", "w")`, context_id: id });
    }
    expect(lines).toEqual(['a\n', 'b\n']);
    await interpreter.call('DELETE', `/contexts/${id}`);
  });

  test('TPL7: loses no line of a large output', async () => {
    const events = await interpreter.run({ code: 'for i in range(200_000): print(i)' });
    expect(stdout(events)).toBe(Array.from({ length: 200_000 }, (_, i) => `${i}\n`).join(''));
  });

  test('TPL7: state stays from run to run; contexts do not share it', async () => {
    const { id } = await interpreter.createContext('python', '/tmp');
    await interpreter.run({ code: 'x = 1' });
    await interpreter.run({ code: 'x = 2', context_id: id });
    expect(mainResult(await interpreter.run({ code: 'x' }))).toBe('1');
    expect(mainResult(await interpreter.run({ code: 'import os; (x, os.getcwd())', context_id: id }))).toBe(
      "(2, '/tmp')",
    );
    expect((await interpreter.call('DELETE', `/contexts/${id}`)).status).toBe(204);
    expect(await interpreter.contextIds()).not.toContain(id);
  });

  test('TPL7: two contexts run at the same time, two runs of one context one after the other', async () => {
    const { id } = await interpreter.createContext('python');
    const folder = `/tmp/meet-${id}`;
    // Each waits for the other's file: they end only if both run.
    const meet = (own: string, other: string) =>
      `import os, time\nos.makedirs("${folder}", exist_ok=True)\nopen("${folder}/${own}", "w")\n` +
      `while not os.path.exists("${folder}/${other}"): time.sleep(0.01)\n"met"`;
    const both = await Promise.all([
      interpreter.run({ code: meet('a', 'b') }),
      interpreter.run({ code: meet('b', 'a'), context_id: id }),
    ]);
    expect(both.map(mainResult)).toEqual(['met', 'met']);
    await interpreter.run({ code: 'seen = []', context_id: id });
    const append = (name: string) =>
      interpreter.run({
        code: `import time\nseen.append("${name}+")\ntime.sleep(0.2)\nseen.append("${name}-")`,
        context_id: id,
      });
    await Promise.all([append('a'), append('b')]);
    const order = mainResult(await interpreter.run({ code: '"".join(seen)', context_id: id }));
    expect(['a+a-b+b-', 'b+b-a+a-']).toContain(order);
    await interpreter.call('DELETE', `/contexts/${id}`);
  });

  test('TPL7: a plot is a picture and chart data, a data frame a table and its columns', async () => {
    const plot = await interpreter.run({
      code: 'import matplotlib.pyplot as plt\nplt.plot([1, 2, 3], [4, 5, 6], label="a")\nplt.title("T")\nplt.xlabel("x")\nplt.show()',
    });
    const figure = plot.find(({ type }) => type === 'result');
    expect(Buffer.from(figure?.png, 'base64').subarray(1, 4).toString()).toBe('PNG');
    expect(figure).toMatchObject({ is_main_result: false, chart: { type: 'line', title: 'T', x_label: 'x' } });
    expect(figure?.chart.elements[0].points).toEqual([
      [1, 4],
      [2, 5],
      [3, 6],
    ]);
    const code = 'import pandas as pd\npd.DataFrame({"n": [1, 2], "s": ["x", None]})';
    const table = (await interpreter.run({ code })).find(({ type }) => type === 'result');
    expect(table).toMatchObject({ is_main_result: true, data: { n: [1, 2], s: ['x', null] } });
    expect(table?.html).toContain('<table');
  });

  test('TPL7: every kind of result has its name, others are extra', async () => {
    const code = `
from IPython.display import display
bundle = {"text/html": "<b>h</b>", "text/markdown": "# m", "image/svg+xml": "<svg/>", "image/jpeg": "anBlZw==",
  "application/pdf": "cGRm", "text/latex": "$l$", "application/json": {"j": [1]}, "application/javascript": "1",
  "application/x-other": "o"}
display(bundle, raw=True)`;
    const result = (await interpreter.run({ code })).find(({ type }) => type === 'result');
    expect(result).toEqual({
      ...{ type: 'result', is_main_result: false, html: '<b>h</b>', markdown: '# m', svg: '<svg/>' },
      ...{ jpeg: 'anBlZw==', pdf: 'cGRm', latex: '$l$', json: { j: [1] }, javascript: '1' },
      extra: { 'application/x-other': 'o' },
    });
  });

  test('TPL7: an error has its name, its value and where it was', async () => {
    const events = await interpreter.run({ code: 'def f():\n    return 1 / 0\nf()' });
    expect(errorOf(events)).toMatchObject({ name: 'ZeroDivisionError', value: 'division by zero' });
    expect(errorOf(events)?.traceback).toContain('return');
    expect(events.at(-1)?.type).toBe('end_of_execution');
    expect(errorOf(await interpreter.run({ code: 'input()' }))?.name).toBe('StdinNotImplementedError');
    expect(errorOf(await interpreter.run({ code: 'if' }))?.name).toBe('SyntaxError');
    expect(mainResult(await interpreter.run({ code: '40 + 2' }))).toBe('42');
  });

  test('TPL7: variables of a request are there during it and gone after it', async () => {
    const code = 'import os; [os.environ.get(name) for name in ("WRENN_T", "LANG")]';
    const env_vars = { WRENN_T: `quo'te"`, LANG: 'de_DE' };
    expect(mainResult(await interpreter.run({ code, env_vars }))).toBe(`['quo\\'te"', 'de_DE']`);
    expect(mainResult(await interpreter.run({ code }))).toBe("[None, 'C.UTF-8']");
    const javascript = { language: 'javascript', code: 'String([process.env.WRENN_T, process.env.LANG])' };
    expect(mainResult(await interpreter.run({ ...javascript, env_vars }))).toBe(`quo'te",de_DE`);
    expect(mainResult(await interpreter.run(javascript))).toBe(',C.UTF-8');
  });

  test.each([
    ['python', 'while True: pass'],
    ['python', 'import time; time.sleep(3600)'],
    ['javascript', 'for (;;) {}'],
    ['javascript', 'await new Promise(() => setInterval(() => {}, 1e6))'],
  ])('TPL7: %s: `%s` is interrupted, and its state stays', async (language, code) => {
    const { id } = await interpreter.createContext(language);
    await interpreter.run({ code: 'x = 7', context_id: id });
    const events = [];
    for await (const event of interpreter.stream({ code, context_id: id })) {
      events.push(event);
      if (event.type !== 'number_of_executions') continue;
      expect((await interpreter.call('POST', `/contexts/${id}/interrupt`)).status).toBe(204);
    }
    expect(errorOf(events)?.name).toBe('KeyboardInterrupt');
    expect(mainResult(await interpreter.run({ code: 'x', context_id: id }))).toBe('7');
    await interpreter.call('DELETE', `/contexts/${id}`);
  });

  test.each([
    ['python', 'import time\nwhile True: time.sleep(0.01)'],
    ['javascript', 'for (;;) {}'],
  ])('TPL7: %s: a run whose client leaves is interrupted', async (language, code) => {
    const { id } = await interpreter.createContext(language);
    const client = new AbortController();
    const given = (async () => {
      for await (const event of interpreter.stream({ code, context_id: id }, client.signal)) {
        if (event.type === 'number_of_executions') client.abort();
      }
    })();
    await expect(given).rejects.toThrow();
    expect(mainResult(await interpreter.run({ code: '1 + 1', context_id: id }))).toBe('2');
    await interpreter.call('DELETE', `/contexts/${id}`);
  });

  test.each([
    ['python', 'import os; os._exit(3)', 'x'],
    ['javascript', 'process.exit(3)', 'typeof x'],
  ])('TPL7: %s: a kernel that dies is said so and started again', async (language, code, look) => {
    const { id } = await interpreter.createContext(language);
    await interpreter.run({ code: 'x = 1', context_id: id });
    const events = await interpreter.run({ code, context_id: id });
    expect(errorOf(events)?.name).toBe('KernelDied');
    expect(events.at(-1)?.type).toBe('unexpected_end_of_execution');
    const after = await interpreter.run({ code: look, context_id: id });
    expect(errorOf(after)?.name ?? mainResult(after)).toBe(language === 'python' ? 'NameError' : 'undefined');
    await interpreter.call('DELETE', `/contexts/${id}`);
  });

  test('TPL7: a restarted context has its place and none of its state', async () => {
    const { id } = await interpreter.createContext('python', '/tmp');
    await interpreter.run({ code: 'x = 1', context_id: id });
    expect((await interpreter.call('POST', `/contexts/${id}/restart`)).status).toBe(204);
    expect(errorOf(await interpreter.run({ code: 'x', context_id: id }))?.name).toBe('NameError');
    const after = await interpreter.run({ code: 'import os; os.getcwd()', context_id: id });
    expect(mainResult(after)).toBe('/tmp');
    await interpreter.call('DELETE', `/contexts/${id}`);
  });

  test('TPL7: JavaScript and TypeScript: modules, await, declarations again, results', async () => {
    const javascript = async (code: string) => {
      const events = await interpreter.run({ code, language: 'javascript' });
      return errorOf(events)?.value ?? mainResult(events) ?? stdout(events);
    };
    expect(await javascript('const a = 1; let b = 2; class C { n = a + b }; new C().n')).toBe('3');
    expect(await javascript('const a = 5; class C {}; a')).toBe('5');
    expect(await javascript("import { basename as base } from 'node:path';\nbase('/x/y')")).toBe('y');
    expect(await javascript("(await import('node:os')).platform() + require('node:path').sep")).toBe('linux/');
    expect(await javascript('await new Promise((resolve) => setTimeout(resolve, 10, { a: [1] }))')).toBe(
      '{ a: [ 1 ] }',
    );
    expect(await javascript('console.log("a"); console.log("b")')).toBe('a\nb\n');
    expect(await javascript('throw "text"')).toBe('text');
    expect(await javascript('null.x')).toContain('Cannot read properties of null');
    expect(await javascript('foo(')).toContain('Unexpected token');
    const html = await interpreter.run({ code: "display.html('<i>x</i>')", language: 'javascript' });
    expect(html.find(({ type }) => type === 'result')).toMatchObject({ html: '<i>x</i>', is_main_result: false });
    const typescript = 'enum E { A = 4 }\nconst f = (x: number): string => String(x); f(E.A)';
    expect(mainResult(await interpreter.run({ code: typescript, language: 'typescript' }))).toBe('4');
  });

  test.each([
    ['no code', 400, 'POST', '/execute', {}],
    ['code that is no text', 400, 'POST', '/execute', { code: 1 }],
    ['both a context and a language', 400, 'POST', '/execute', { code: '1', context_id: 'x', language: 'python' }],
    ['an unknown language', 400, 'POST', '/execute', { code: '1', language: 'cobol' }],
    ['an unknown context', 404, 'POST', '/execute', { code: '1', context_id: 'x' }],
    ['variables that are none', 400, 'POST', '/execute', { code: '1', env_vars: { A: 1 } }],
    ['a variable with a NUL', 400, 'POST', '/execute', { code: '1', env_vars: { A: '\0' } }],
    ['a folder that is not there', 400, 'POST', '/contexts', { cwd: '/nowhere' }],
    ['an unknown context to restart', 404, 'POST', '/contexts/x/restart', undefined],
    ['an unknown context to remove', 404, 'DELETE', '/contexts/x', undefined],
    ['an unknown path', 404, 'GET', '/nothing', undefined],
  ])('TPL7: %s is refused with %i', async (_, status, method, path, body) => {
    const response = await interpreter.call(method, path, body);
    expect(response.status).toBe(status);
    expect(await response.json()).toEqual({ code: status, message: expect.any(String) });
  });

  test('TPL7: a body that another page could send without asking is refused', async () => {
    const headers = { 'content-type': 'text/plain' };
    const response = await fetch(`${interpreter.url}/execute`, { method: 'POST', headers, body: '{"code":"1"}' });
    expect(response.status).toBe(415);
  });
});

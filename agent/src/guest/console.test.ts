import { appendFile, mkdtemp, rm, stat, symlink, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { cutConsoles } from '../console-keeper.ts';
import { AgentFiles } from '../files.ts';
import { consoleTail, onReadyLine } from './console.ts';

let folder: string;
let path: string;

beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'wrenn-console-'));
  path = join(folder, 'console.log');
});

afterEach(() => rm(folder, { recursive: true }));

test('the last lines, without what a guest could do harm with', async () => {
  await writeFile(path, `${'x'.repeat(10_000)}\nKernel panic\0 - \u001b[31mred\r\nend\n`);
  const tail = await consoleTail(path);
  expect(tail).toMatch(/Kernel panic - \[31mred\nend$/);
  expect(tail.length).toBeLessThanOrEqual(4096);
  expect(await consoleTail(join(folder, 'none'))).toBe('');
});

test('a link in the place of the console is not followed', async () => {
  await writeFile(join(folder, 'secret'), 'secret');
  await symlink(join(folder, 'secret'), path);
  await expect(consoleTail(path)).rejects.toMatchObject({ code: 'ELOOP' });
});

test('VM6: the ready line is heard, also in two pieces and after much else', async () => {
  await writeFile(path, 'boot\n');
  let heard = 0;
  const stop = onReadyLine(path, () => heard++);
  await appendFile(path, `${'noise\n'.repeat(1000)}wrenn-in`);
  expect(heard).toBe(0);
  await appendFile(path, 'it: ready at 5 ms\n');
  await expect.poll(() => heard).toBeGreaterThan(0);
  stop();
});

test('a console that grows without end is cut to its last lines, and goes on', async () => {
  const files = new AgentFiles(folder);
  await files.prepare();
  const { folder: vm, console } = files.sandbox('sbx.1');
  await import('node:fs/promises').then(({ mkdir }) => mkdir(vm));
  await writeFile(console, `${'line\n'.repeat(300_000)}last words\n`);
  await cutConsoles(files);
  expect((await stat(console)).size).toBeLessThan(8192);
  await appendFile(console, 'more\n');
  expect(await consoleTail(console)).toMatch(/last words\nmore$/);
});

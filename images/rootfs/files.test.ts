import { chmodSync, existsSync, mkdirSync, mkdtempSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, expect, test } from 'vitest';
import { codeInterpreter } from '../recipes/code-interpreter.ts';
import { copyFiles } from './files.ts';

const dir = mkdtempSync(join(tmpdir(), 'wrenn-files-'));
afterAll(() => rmSync(dir, { recursive: true }));

test('TPL7: folders of a recipe are put into the system, programs as programs, twice the same', async () => {
  const from = join(dir, 'from');
  mkdirSync(join(from, 'etc/services/__pycache__'), { recursive: true });
  writeFileSync(join(from, 'etc/services/run'), '');
  chmodSync(join(from, 'etc/services/run'), 0o755);
  writeFileSync(join(from, 'etc/services/__pycache__/x.pyc'), '');
  const root = join(dir, 'root');
  for (const _ of [1, 2]) await copyFiles(root, [{ from, to: 'opt' }]);
  expect(statSync(join(root, 'opt/etc/services/run')).mode & 0o777).toBe(0o755);
  expect(existsSync(join(root, 'opt/etc/services/__pycache__'))).toBe(false);
});

test('TPL7: what the code interpreter starts and runs after a resume can be executed', async () => {
  const root = join(dir, 'interpreter');
  await copyFiles(root, codeInterpreter.files ?? []);
  for (const path of ['etc/wrenn/services.d/code-interpreter', 'etc/wrenn/resume.d/code-interpreter']) {
    expect(statSync(join(root, path)).mode & 0o111, path).toBe(0o111);
  }
});

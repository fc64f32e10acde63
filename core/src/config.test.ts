import { execFile } from 'node:child_process';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { z } from 'zod';
import { ConfigError, parseConfig } from './config.ts';

const schema = z.object({
  WRENN_LISTEN: z.string().default('127.0.0.1:8080'),
  WRENN_SLOT_POOL: z.coerce.number().int().min(0).default(4),
  JWT_SECRET: z.string().min(32),
});
const SECRET = 'x'.repeat(32);
let cwd: string;
beforeAll(async () => {
  cwd = await mkdtemp(join(tmpdir(), 'wrenn-config-'));
  await writeFile(join(cwd, '.env'), `JWT_SECRET=${SECRET}\nWRENN_SLOT_POOL=7\nWRENN_LISTEN=\n`);
});
afterAll(() => rm(cwd, { recursive: true, force: true }));

test('.env is read, the environment wins, an empty value counts as not set', () => {
  expect(parseConfig(schema, {}, { cwd })).toEqual({
    WRENN_LISTEN: '127.0.0.1:8080',
    WRENN_SLOT_POOL: 7,
    JWT_SECRET: SECRET,
  });
  expect(parseConfig(schema, { WRENN_SLOT_POOL: '9' }, { cwd }).WRENN_SLOT_POOL).toBe(9);
});

test('an unknown WRENN_ name is a warning', () => {
  const warnings: string[] = [];
  parseConfig(
    schema,
    { WRENN_SLOT_POOOL: '1', WRENN_DIR: '/x', OTHER: '1' },
    { cwd, warn: (text) => warnings.push(text), alsoKnown: ['WRENN_DIR'] },
  );
  expect(warnings).toEqual(['unknown setting WRENN_SLOT_POOOL is ignored']);
});

test('a bad value is named and its value is not shown', () => {
  expect(() => parseConfig(schema, { WRENN_SLOT_POOL: 'many', JWT_SECRET: 'short-secret' }, { cwd: '/' })).toThrow(
    ConfigError,
  );
  try {
    parseConfig(schema, { WRENN_SLOT_POOL: 'many', JWT_SECRET: 'short-secret' }, { cwd: '/' });
  } catch (error) {
    expect((error as Error).message).toMatch(/WRENN_SLOT_POOL: .*JWT_SECRET: /);
    expect((error as Error).message).not.toContain('short-secret');
  }
});

test('a program with a bad value ends with status 1 and says which', async () => {
  const program = `import { z } from 'zod'; import { loadConfig } from '${join(import.meta.dirname, 'config.ts')}'; loadConfig(z.object({ WRENN_N: z.coerce.number() })); console.log('went on')`;
  const env = { ...process.env, WRENN_N: 'x' };
  const run = promisify(execFile)(process.execPath, ['--input-type=module', '-e', program], {
    env,
    cwd: import.meta.dirname,
  });
  await expect(run).rejects.toMatchObject({ code: 1, stdout: '', stderr: expect.stringContaining('WRENN_N') });
});

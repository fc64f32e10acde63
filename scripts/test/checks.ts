import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { CHECKOUT } from '../lib/checkout.ts';
import { statusOf } from '../lib/run.ts';
import { FAILED, type Outcome, PASSED, type Part } from './part.ts';

const at = (...parts: string[]) => join(CHECKOUT, ...parts);

/** Types, lint with format and import direction (biome.json), and that committed generated files are current. */
export const CHECKS: Part[] = [
  { name: 'types', run: () => check([at('node_modules/.bin/tsc'), '-p', 'tsconfig.json']) },
  {
    name: 'types of the console',
    run: () =>
      check(
        [at('console/node_modules/.bin/svelte-check'), '--tsconfig', 'tsconfig.json', '--fail-on-warnings'],
        at('console'),
      ),
  },
  {
    name: 'lint, format, import direction',
    run: () => check([at('node_modules/.bin/biome'), 'check', '--error-on-warnings', '.']),
  },
  { name: 'rustfmt', run: () => rustfmt() },
  { name: 'generated: protocol', run: () => protocol() },
  ...scriptCheck('generated: OpenAPI document', 'gateway/src/openapi/write.ts'),
  ...scriptCheck('generated: SDK types', 'sdk/write-types.ts'),
  ...scriptCheck('generated: layouts of statecharts', 'console/src/statechart/write-layouts.ts'),
];

async function check(argv: string[], cwd = CHECKOUT): Promise<Outcome> {
  return (await statusOf(argv, { cwd })) === 0 ? PASSED : FAILED;
}

/** A generator that knows `--check`. */
function scriptCheck(name: string, script: string): Part[] {
  return existsSync(at(script)) ? [{ name, run: () => check(['node', script, '--check']) }] : [];
}

/** The distribution's Rust comes without rustfmt: said, not failed. */
async function rustfmt(): Promise<Outcome> {
  const status = await statusOf(['cargo', 'fmt', '--version'], {}).catch(() => 1);
  if (status === 0) return check(['cargo', 'fmt', '--check'], at('native'));
  console.log('  rustfmt is not installed: skipped');
  return { passed: 0, failed: 0 };
}

/** Generates into a folder aside and compares. */
async function protocol(): Promise<Outcome> {
  const target = mkdtempSync(join(tmpdir(), 'wrenn-proto-'));
  try {
    const env = { ...process.env, PATH: `${at('node_modules/.bin')}:${process.env.PATH}` };
    const status = await statusOf([at('node_modules/.bin/buf'), 'generate', 'proto', '-o', target], {
      cwd: CHECKOUT,
      env,
    });
    if (status !== 0) return FAILED;
    const different = differences(at('proto/src/gen'), join(target, 'proto/src/gen'));
    for (const file of different) console.error(`  proto/src/gen/${file} is not current: run "npm run proto"`);
    return different.length === 0 ? PASSED : FAILED;
  } finally {
    rmSync(target, { recursive: true });
  }
}

/** Files that are in one folder only, or differ. */
function differences(one: string, other: string): string[] {
  const names = new Set([one, other].flatMap((folder) => readdirSync(folder, { recursive: true, encoding: 'utf8' })));
  const read = (folder: string, name: string) => {
    try {
      return readFileSync(join(folder, name), 'utf8');
    } catch (error) {
      return (error as NodeJS.ErrnoException).code; // EISDIR on both sides for folders
    }
  };
  return [...names].filter((name) => read(one, name) !== read(other, name)).sort();
}

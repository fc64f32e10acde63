/**
 * What the Makefile's targets do. Only Node's own modules are imported before the npm packages are installed.
 *
 *     scripts/bootstrap.sh scripts/main.ts up|down|clean|build|image-code-interpreter|test|check|format|kvm-host|bench
 */
import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { runSteps, StepError } from './build/step.ts';
import { buildSteps, checkSteps, interpreterImageSteps } from './build/steps.ts';
import { CHECKOUT } from './lib/checkout.ts';
import { RunError, run } from './lib/run.ts';

const COMMANDS: Record<string, () => Promise<number>> = {
  build: async () => {
    await runSteps(buildSteps({ check: false }));
    return 0;
  },
  'image-code-interpreter': async () => {
    await runSteps(interpreterImageSteps());
    return 0;
  },
  up: async () => {
    await runSteps(buildSteps({ check: false }));
    return (await import('./dev/up.ts')).up();
  },
  down: async () => (await import('./dev/down.ts')).down(),
  clean: async () => (await import('./dev/clean.ts')).clean(),
  test: async () => {
    try {
      await runSteps(buildSteps({ check: true }));
    } catch (error) {
      console.log('\n0 passed, 1 failed'); // the build counts as a test that failed
      throw error;
    }
    return (await import('./test/test.ts')).test('all');
  },
  check: async () => {
    await runSteps(checkSteps());
    return (await import('./test/test.ts')).test('checks');
  },
  format: async () => {
    await runSteps(checkSteps());
    await run(['node_modules/.bin/biome', 'check', '--write', '.'], { cwd: CHECKOUT });
    await run(['cargo', 'fmt'], { cwd: join(CHECKOUT, 'native') });
    return 0;
  },
  'kvm-host': async () => {
    await runSteps(buildSteps({ check: false }));
    await run(['node', 'e2e/kvm-host/main.ts', ...process.argv.slice(3)], { cwd: CHECKOUT });
    return 0;
  },
  bench: async () => {
    await runSteps(buildSteps({ check: false }));
    if (!existsSync(join(CHECKOUT, 'bench/run.ts'))) throw new RunError('there is no bench/run.ts');
    await run(['node', 'bench/run.ts', ...process.argv.slice(3)], { cwd: CHECKOUT });
    return 0;
  },
};

const command = COMMANDS[process.argv[2] ?? ''];
if (!command) {
  console.error(`usage: make ${Object.keys(COMMANDS).join('|')}`);
  process.exit(2);
}
const envFile = join(CHECKOUT, '.env');
if (existsSync(envFile)) process.loadEnvFile(envFile); // the real environment wins
try {
  process.exitCode = await command();
} catch (error) {
  if (!(error instanceof StepError)) console.error(error instanceof RunError ? error.message : error);
  process.exitCode = 1;
}

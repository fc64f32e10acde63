import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { STATIC_ENV, STATIC_TARGET } from '../build/steps.ts';
import { CHECKOUT } from '../lib/checkout.ts';
import { logTail, statusOf } from '../lib/run.ts';
import type { Outcome, Part } from './part.ts';

/** Tests of the Rust crates, with the flags of the build so that what is compiled already is used. */
export const CARGO_PARTS: Part[] = [
  { name: 'Rust: addon', run: () => cargoTest(['--release', '-p', 'wrenn-addon'], process.env) },
  {
    name: 'Rust: envd and wrenn-init',
    run: () =>
      cargoTest(['--release', '--target', STATIC_TARGET, '-p', 'wrenn-envd', '-p', 'wrenn-init'], {
        ...process.env,
        ...STATIC_ENV,
      }),
  },
];

async function cargoTest(args: string[], env: NodeJS.ProcessEnv): Promise<Outcome> {
  const dir = mkdtempSync(join(tmpdir(), 'wrenn-cargo-'));
  try {
    const log = join(dir, 'log');
    const status = await statusOf(['cargo', 'test', '--no-fail-fast', ...args], {
      cwd: join(CHECKOUT, 'native'),
      env,
      log,
    });
    const output = readFileSync(log, 'utf8');
    const outcome = countCargo(output);
    if (status === 0) return outcome;
    console.error(logTail(log, 80));
    const failed = Math.max(outcome.failed, 1); // it may not have compiled
    return { ...outcome, failed, failures: panicsOf(output) };
  } finally {
    rmSync(dir, { recursive: true });
  }
}

/** Sums cargo's "test result" lines. */
export function countCargo(output: string): Outcome {
  const outcome = { passed: 0, failed: 0 };
  for (const [, passed, failed] of output.matchAll(/^test result: \w+\. (\d+) passed; (\d+) failed/gm)) {
    outcome.passed += Number(passed);
    outcome.failed += Number(failed);
  }
  return outcome;
}

/** What cargo prints of each test that failed: its name, and where and why it panicked. */
export function panicsOf(output: string): string[] {
  return [...output.matchAll(/^---- (\S+) stdout ----\n+([\s\S]*?)(?=\n\n|\n---- )/gm)].map(
    ([, name, said]) => `${name}\n${(said ?? '').replace(/^/gm, '      ')}`,
  );
}

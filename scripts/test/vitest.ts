import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { CHECKOUT } from '../lib/checkout.ts';
import { statusOf } from '../lib/run.ts';
import type { Outcome, Part } from './part.ts';

/** Whole-system tests boot VMs: they run after the others, not beside them. */
export const VITEST_PARTS: Part[] = [
  { name: 'tests of the rooms', run: () => vitest(['--project', '!e2e']) },
  { name: 'tests of the whole system', run: () => vitest(['--project', 'e2e']) },
];

interface JsonReport {
  numPassedTests: number;
  numFailedTests: number;
}

async function vitest(args: string[]): Promise<Outcome> {
  const dir = mkdtempSync(join(tmpdir(), 'wrenn-vitest-'));
  try {
    const report = join(dir, 'report.json');
    const argv = ['node_modules/.bin/vitest', 'run', '--passWithNoTests', '--reporter=default', '--reporter=json'];
    const status = await statusOf([...argv, `--outputFile.json=${report}`, ...args], { cwd: CHECKOUT });
    const outcome = outcomeOf(report);
    return status === 0 ? outcome : { ...outcome, failed: Math.max(outcome.failed, 1) };
  } finally {
    rmSync(dir, { recursive: true });
  }
}

function outcomeOf(path: string): Outcome {
  try {
    const report = JSON.parse(readFileSync(path, 'utf8')) as JsonReport;
    return { passed: report.numPassedTests, failed: report.numFailedTests };
  } catch {
    return { passed: 0, failed: 0 }; // no report: the exit status counts
  }
}

import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join, relative } from 'node:path';
import { stripVTControlCharacters } from 'node:util';
import { CHECKOUT } from '../lib/checkout.ts';
import { statusOf } from '../lib/run.ts';
import type { Outcome, Part } from './part.ts';

/**
 * Whole-system tests boot VMs: they run after the others, not beside them. So do the agent's, but one at a time, which
 * leaves a core to the rooms that mostly wait.
 */
export const VITEST_PARTS: Part[] = [
  { name: 'tests of the rooms', run: rooms },
  { name: 'tests of the whole system', run: () => vitest(['--project', 'e2e']) },
];

/** What is read of vitest's JSON report. */
interface JsonReport {
  numPassedTests: number;
  numFailedTests: number;
  testResults: {
    name: string;
    status: string;
    /** Set where the file itself failed, e.g. in a hook. */
    message?: string;
    assertionResults: { fullName: string; status: string; failureMessages: string[] }[];
  }[];
}

/** Lines of a failure's message that are said again at the end. */
const MESSAGE_LINES = 16;

async function rooms(): Promise<Outcome> {
  const dir = mkdtempSync(join(tmpdir(), 'wrenn-vitest-'));
  const log = join(dir, 'agent.log');
  try {
    const [agent, others] = await Promise.all([
      vitest(['--project', 'agent'], log),
      vitest(['--project', '!agent', '--project', '!e2e']),
    ]);
    console.log(readFileSync(log, 'utf8'));
    return {
      passed: agent.passed + others.passed,
      failed: agent.failed + others.failed,
      failures: [...(agent.failures ?? []), ...(others.failures ?? [])],
    };
  } finally {
    rmSync(dir, { recursive: true });
  }
}

/** `log`: where its output goes, instead of this one's. */
async function vitest(args: string[], log?: string): Promise<Outcome> {
  const dir = mkdtempSync(join(tmpdir(), 'wrenn-vitest-'));
  try {
    const report = join(dir, 'report.json');
    const argv = ['node_modules/.bin/vitest', 'run', '--passWithNoTests', '--reporter=default', '--reporter=json'];
    const status = await statusOf([...argv, `--outputFile.json=${report}`, ...args], {
      cwd: CHECKOUT,
      ...(log !== undefined && { log }),
    });
    const outcome = outcomeOf(report);
    return status === 0 ? outcome : { ...outcome, failed: Math.max(outcome.failed, 1) };
  } finally {
    rmSync(dir, { recursive: true });
  }
}

function outcomeOf(path: string): Outcome {
  try {
    const report = JSON.parse(readFileSync(path, 'utf8')) as JsonReport;
    return { passed: report.numPassedTests, failed: report.numFailedTests, failures: failuresOf(report) };
  } catch {
    return { passed: 0, failed: 0 }; // no report: the exit status counts
  }
}

function failuresOf({ testResults }: JsonReport): string[] {
  return testResults.flatMap(({ name, status, message, assertionResults }) => {
    const file = relative(CHECKOUT, name);
    const failed = assertionResults.filter((test) => test.status === 'failed');
    const ofFile = status === 'failed' && message ? [`${file}\n${excerpt(message)}`] : [];
    return [
      ...ofFile,
      ...failed.map(({ fullName, failureMessages }) => `${file} > ${fullName}\n${excerpt(failureMessages.join('\n'))}`),
    ];
  });
}

function excerpt(message: string): string {
  const lines = stripVTControlCharacters(message).trim().split('\n');
  return lines
    .slice(0, MESSAGE_LINES)
    .map((line) => `      ${line}`)
    .join('\n');
}

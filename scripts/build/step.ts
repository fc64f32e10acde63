import { existsSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { stateFolder } from '../lib/checkout.ts';
import { contentHash } from '../lib/content-hash.ts';
import { logTail } from '../lib/run.ts';

/** One thing that must be there before Wrenn runs, and how to make it. */
export interface Step {
  name: string;
  /** Files and folders that the result depends on. Without them the step decides for itself and runs each time. */
  inputs?: string[];
  /** Paths that must exist for the result to count. */
  outputs?: string[];
  /** @returns what to say in place of "done", e.g. that there was nothing to do. */
  run(log: string): Promise<string | undefined>;
}

/** A step that failed; its log has been shown. */
export class StepError extends Error {
  override name = 'StepError';
}

/** So that a log without a terminal shows that a long step lives. */
const HEARTBEAT_MS = 30_000;

/** Runs the steps in order; each prints one line with its time, and nothing is done twice for the same inputs. */
export async function runSteps(steps: Step[]): Promise<void> {
  for (const step of steps) await runStep(step);
}

async function runStep(step: Step): Promise<void> {
  const stamp = join(stateFolder('stamps'), step.name.replaceAll(/\W+/g, '-'));
  const inputs = step.inputs && contentHash(step.inputs);
  if (inputs && isCurrent(stamp, inputs, step.outputs ?? [])) return report(step.name, 'current');
  const log = join(stateFolder('log'), `build-${step.name.replaceAll(/\W+/g, '-')}.log`);
  rmSync(log, { force: true });
  writeFileSync(log, '');
  rmSync(stamp, { force: true });
  const started = Date.now();
  const stop = showProgress(step.name, started);
  try {
    const answer = await step.run(log);
    stop();
    if (inputs) writeFileSync(stamp, inputs);
    report(step.name, `${answer ?? 'done'}, ${seconds(started)}`);
  } catch (error) {
    stop();
    report(step.name, `FAILED after ${seconds(started)}: ${error instanceof Error ? error.message : error}`);
    console.error(`  the end of ${log}:\n${logTail(log)}`);
    throw new StepError(step.name, { cause: error });
  }
}

function isCurrent(stamp: string, inputs: string, outputs: string[]): boolean {
  return existsSync(stamp) && readFileSync(stamp, 'utf8') === inputs && outputs.every((path) => existsSync(path));
}

function showProgress(name: string, started: number): () => void {
  const live = process.stdout.isTTY;
  if (!live) console.log(`  ${name} …`);
  const show = () =>
    live
      ? process.stdout.write(`\r\x1b[K  ${name} … ${seconds(started)}`)
      : console.log(`  ${name} … ${seconds(started)}`);
  const timer = setInterval(show, live ? 1_000 : HEARTBEAT_MS);
  return () => {
    clearInterval(timer);
    if (live) process.stdout.write('\r\x1b[K');
  };
}

function report(name: string, what: string): void {
  console.log(`  ${name}: ${what}`);
}

function seconds(since: number): string {
  return `${((Date.now() - since) / 1000).toFixed(1)} s`;
}

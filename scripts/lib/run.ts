import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { closeSync, openSync, readFileSync } from 'node:fs';

export interface RunOptions {
  cwd?: string;
  env?: NodeJS.ProcessEnv;
  /** stdout and stderr are appended here; without it they are this process's own. */
  log?: string;
  signal?: AbortSignal;
}

/** A program that did not end with code 0. */
export class RunError extends Error {
  override name = 'RunError';
}

/** Runs a program to its end; no shell. Throws `RunError` unless it ends with code 0. */
export async function run(argv: string[], options: RunOptions = {}): Promise<void> {
  const status = await statusOf(argv, options);
  if (status !== 0) throw new RunError(`${argv.join(' ')} ended with ${status}`);
}

/** As `run`, but gives the exit code, or the name of the signal that ended it. */
export async function statusOf(argv: string[], options: RunOptions = {}): Promise<number | string> {
  const [program, ...args] = argv as [string, ...string[]];
  const log = options.log === undefined ? undefined : openSync(options.log, 'a');
  try {
    const child = spawn(program, args, {
      cwd: options.cwd,
      env: options.env ?? process.env,
      stdio: ['ignore', log ?? 'inherit', log ?? 'inherit'],
      ...(options.signal ? { signal: options.signal } : {}),
    });
    const [code, signal] = (await once(child, 'close')) as [number | null, string | null];
    return code ?? signal ?? 'unknown';
  } finally {
    if (log !== undefined) closeSync(log);
  }
}

/** The last lines of a log, indented, for the message of a failure. */
export function logTail(path: string, lines = 40): string {
  const text = readFileSync(path, 'utf8').trimEnd().split('\n').slice(-lines);
  return text.map((line) => `    ${line}`).join('\n');
}

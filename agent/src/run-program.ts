import { execFile } from 'node:child_process';

/** Output kept of a helper program: they print a line or two. */
const MAX_OUTPUT_BYTES = 1 << 20;

export class ProgramFailed extends Error {
  readonly program: string;
  readonly exitCode: number | null;

  constructor(program: string, exitCode: number | null, stderr: string, cause: unknown) {
    super(`${program} failed${exitCode === null ? '' : ` (${exitCode})`}: ${stderr.trim() || String(cause)}`, {
      cause,
    });
    this.name = 'ProgramFailed';
    this.program = program;
    this.exitCode = exitCode;
  }
}

/** Runs a helper program to its end (arguments as they are, no shell) and returns its standard output. */
export function runProgram(program: string, args: readonly string[], signal: AbortSignal): Promise<string> {
  return new Promise((resolve, reject) => {
    execFile(program, args, { signal, maxBuffer: MAX_OUTPUT_BYTES, encoding: 'utf8' }, (error, stdout, stderr) => {
      if (error === null) resolve(stdout);
      else if (signal.aborted) reject(signal.reason);
      else reject(new ProgramFailed(program, typeof error.code === 'number' ? error.code : null, stderr, error));
    });
  });
}

import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { closeSync, openSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { DEATH, type Death } from './death.ts';

export interface ProgramOptions {
  readonly name: string;
  readonly script: string;
  readonly env: NodeJS.ProcessEnv;
  readonly logFile: string;
  /** Base URL of its `/health`. */
  readonly url: string;
}

const MORTAL = join(import.meta.dirname, 'mortal.ts');
const LOOK_MS = 15;

/** A program of the storm, one life after the other. */
export class Program {
  readonly #options: ProgramOptions;
  #child: ChildProcess | null = null;

  constructor(options: ProgramOptions) {
    this.#options = options;
  }

  get name(): string {
    return this.#options.name;
  }

  /** Starts it; resolves when it serves, was killed, or has ended because it could not start. */
  async start(death: Death | null, args: readonly string[] = []): Promise<'serves' | 'killed' | 'ended'> {
    const { script, env, logFile, url } = this.#options;
    const log = openSync(logFile, 'a', 0o600);
    const child = spawn(process.execPath, ['--import', MORTAL, script, ...args], {
      env: { ...env, [DEATH]: JSON.stringify(death) },
      stdio: ['pipe', log, log],
    });
    closeSync(log);
    child.stdin?.on('error', () => undefined); // it died before it was told
    this.#child = child;
    while (isAlive(child)) {
      const answer = await fetch(`${url}/health`, { signal: AbortSignal.timeout(2_000) }).catch(() => null);
      if (answer?.ok && isAlive(child)) {
        child.stdin?.write('serves\n');
        return 'serves';
      }
      await sleep(LOOK_MS);
    }
    return child.signalCode === 'SIGKILL' ? 'killed' : 'ended';
  }

  /** Starts one that lives; rejects when it does not come to serve. */
  async startForGood(args: readonly string[] = []): Promise<void> {
    const outcome = await this.start(null, args);
    if (outcome !== 'serves') throw this.#endedByItself();
  }

  /** Resolves at its end, which comes within `longestMs` by our hand; rejects when it ended by itself. */
  async death(longestMs: number): Promise<void> {
    const child = this.#child;
    if (!child) return;
    const timer = setTimeout(() => child.kill('SIGKILL'), longestMs);
    if (isAlive(child)) await once(child, 'exit');
    clearTimeout(timer);
    if (child.signalCode !== 'SIGKILL') throw this.#endedByItself();
  }

  #endedByItself(): Error {
    return new Error(`${this.name} ended by itself (${this.#child?.exitCode}); see ${this.#options.logFile}`);
  }

  async stop(signal: NodeJS.Signals = 'SIGTERM'): Promise<void> {
    const child = this.#child;
    this.#child = null;
    if (!child || !isAlive(child)) return;
    child.kill(signal);
    await once(child, 'exit');
  }
}

function isAlive(child: ChildProcess): boolean {
  return child.exitCode === null && child.signalCode === null;
}

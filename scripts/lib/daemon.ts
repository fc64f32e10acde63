import { type ChildProcess, spawn } from 'node:child_process';
import { closeSync, existsSync, openSync, readFileSync, renameSync, writeFileSync } from 'node:fs';
import { setTimeout as sleep } from 'node:timers/promises';
import { endProcess, isAlive, type ProcessRecord, startTimeOf } from './process-record.ts';

export interface DaemonOptions {
  name: string;
  argv: [string, ...string[]];
  /** stdout and stderr go here; an earlier log is kept as `<logFile>.1`. */
  logFile: string;
  /** Where pid and start time are written, for whoever must end the daemon later. */
  pidFile?: string;
  cwd?: string;
  env?: NodeJS.ProcessEnv;
  /** Root gives up its identity first: PostgreSQL refuses to run as root, Redis need not. Ignored for other callers. */
  unprivileged?: boolean;
  /** Signal the kernel sends the daemon when its starter dies, so that a killed test run leaves nothing. */
  onStarterDeath?: 'SIGINT' | 'SIGTERM' | 'SIGKILL';
  /** Signal for a graceful end, SIGTERM by default. */
  stopSignal?: NodeJS.Signals;
  /** Resolves true once the daemon serves; asked again every few ms until `readyTimeoutMs`. */
  ready(signal: AbortSignal): Promise<boolean>;
  /** Default 30 s. */
  readyTimeoutMs?: number;
  signal?: AbortSignal;
}

export interface Daemon extends ProcessRecord {
  stop(): Promise<void>;
  /** SIGKILL, for tests of bad days. */
  kill(): Promise<void>;
}

/** uid and gid of `nobody` in Debian's base-passwd. */
const NOBODY = 65_534;
const READY_POLL_MS = 20;

/** What went wrong while a daemon came up; the message ends with the last lines of its log. */
export class DaemonError extends Error {
  override name = 'DaemonError';
}

/** Starts a background process that outlives its starter and resolves once it serves. */
export async function startDaemon(options: DaemonOptions): Promise<Daemon> {
  const argv = [...privilegePrefix(options), ...options.argv] as [string, ...string[]];
  if (existsSync(options.logFile)) renameSync(options.logFile, `${options.logFile}.1`);
  const log = openSync(options.logFile, 'a', 0o600);
  const child = spawn(argv[0], argv.slice(1), {
    cwd: options.cwd ?? '/',
    env: options.env ?? process.env,
    detached: true,
    stdio: ['ignore', log, log],
  });
  closeSync(log);
  const record = await spawned(child, options);
  if (options.pidFile) writeFileSync(options.pidFile, `${JSON.stringify(record)}\n`);
  try {
    await untilReady(record, options);
  } catch (error) {
    await endProcess(record, { signal: 'SIGKILL' });
    throw error;
  }
  child.unref();
  return {
    ...record,
    stop: async () => void (await endProcess(record, { signal: options.stopSignal ?? 'SIGTERM' })),
    kill: async () => void (await endProcess(record, { signal: 'SIGKILL' })),
  };
}

/** The record of a pid file, or undefined when there is none or it is torn. */
export function readPidFile(path: string): ProcessRecord | undefined {
  try {
    const { pid, startTime } = JSON.parse(readFileSync(path, 'utf8')) as Partial<ProcessRecord>;
    return typeof pid === 'number' && typeof startTime === 'string' ? { pid, startTime } : undefined;
  } catch {
    return undefined;
  }
}

/** Arguments that make the following command run as `nobody`, able to read (not write) below folders closed to it, such as /root. */
export function asNobody(): string[] {
  if (process.getuid?.() !== 0) return [];
  const keep = ['--inh-caps=+dac_read_search', '--ambient-caps=+dac_read_search'];
  return ['setpriv', `--reuid=${NOBODY}`, `--regid=${NOBODY}`, '--clear-groups', ...keep, '--'];
}

function privilegePrefix(options: DaemonOptions): string[] {
  const identity = options.unprivileged ? asNobody() : [];
  if (!options.onStarterDeath) return identity;
  const parentDeath = `--pdeathsig=${options.onStarterDeath.slice(3)}`;
  return identity.length > 0 ? ['setpriv', parentDeath, ...identity.slice(1)] : ['setpriv', parentDeath, '--'];
}

async function spawned(child: ChildProcess, options: DaemonOptions): Promise<ProcessRecord> {
  await new Promise<void>((resolve, reject) => {
    child.once('spawn', resolve);
    child.once('error', (cause) => reject(new DaemonError(`${options.name} could not be started`, { cause })));
  });
  const pid = child.pid as number;
  const startTime = startTimeOf(pid);
  if (startTime === undefined) throw new DaemonError(`${options.name} ended at once${tail(options.logFile)}`);
  return { pid, startTime };
}

async function untilReady(record: ProcessRecord, options: DaemonOptions): Promise<void> {
  const timeoutMs = options.readyTimeoutMs ?? 30_000;
  const timeout = AbortSignal.timeout(timeoutMs);
  const signal = options.signal ? AbortSignal.any([timeout, options.signal]) : timeout;
  while (!(await answers(options, signal))) {
    options.signal?.throwIfAborted();
    if (!isAlive(record)) throw new DaemonError(`${options.name} ended while starting${tail(options.logFile)}`);
    if (timeout.aborted) throw new DaemonError(`${options.name} not ready in ${timeoutMs} ms${tail(options.logFile)}`);
    await sleep(READY_POLL_MS);
  }
}

/** A question that fails is a no. */
async function answers(options: DaemonOptions, signal: AbortSignal): Promise<boolean> {
  try {
    return await options.ready(signal);
  } catch {
    return false;
  }
}

function tail(logFile: string): string {
  const lines = readFileSync(logFile, 'utf8').trimEnd().split('\n').slice(-15);
  return `; the end of ${logFile}:\n${lines.map((line) => `    ${line}`).join('\n')}`;
}

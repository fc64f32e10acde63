import type { Connection } from './connection.ts';
import { ConnectionError, errorOf } from './errors.ts';

/** How a command runs. An argument vector, no shell: `run('bash', ['-c', '…'])` where one is wanted. */
export interface RunOptions {
  readonly cwd?: string;
  readonly envs?: Readonly<Record<string, string>>;
  readonly user?: string;
  readonly stdin?: string;
  /** Seconds until the command is killed; 0 = never. Default 30. */
  readonly timeoutSec?: number;
  /** Called with output as it comes; what was passed on is in the result too. */
  readonly onStdout?: (text: string) => void;
  readonly onStderr?: (text: string) => void;
  /** Ends the command (SIGKILL to its whole process tree) when aborted. */
  readonly signal?: AbortSignal;
}

/** A finished command. An exit code other than 0 is a result, not an error; 127 = there is no such program. */
export interface CommandResult {
  readonly stdout: string;
  readonly stderr: string;
  readonly exitCode: number;
  readonly durationMs: number;
  /** Why it ended, where that was not its own exit (`signal: killed`). */
  readonly error?: string;
}

type Frame =
  | { type: 'start'; pid: number }
  | { type: 'stdout' | 'stderr'; data: string }
  | { type: 'exit'; exit_code: number; duration_ms: number; error?: string }
  | { type: 'error'; code: string; message: string; details?: unknown; status?: number };

export interface Process {
  readonly pid: number;
  readonly tag?: string | undefined;
  readonly cmd: string;
  readonly args: readonly string[];
}

/** Runs programs in one sandbox (API2). */
export class Commands {
  readonly #connection: Connection;
  readonly #path: string;

  constructor(connection: Connection, sandboxId: string) {
    this.#connection = connection;
    this.#path = `/v1/sandboxes/${sandboxId}`;
  }

  /** Runs a program to its end. With a callback or a signal its output streams. */
  run(cmd: string, args: readonly string[] = [], options: RunOptions = {}): Promise<CommandResult> {
    const streams = options.onStdout || options.onStderr || options.signal;
    return streams ? this.#stream(cmd, args, options) : this.#exec(cmd, args, options);
  }

  /** Processes started through the API that still run. */
  async list(): Promise<readonly Process[]> {
    const { items } = await this.#connection.json<{ items: Process[] }>('GET', `${this.#path}/processes`);
    return items;
  }

  async #exec(cmd: string, args: readonly string[], options: RunOptions): Promise<CommandResult> {
    const answer = await this.#connection.json<{
      stdout: string;
      stderr: string;
      exit_code: number;
      duration_ms: number;
      encoding: 'utf-8' | 'base64';
      error?: string;
    }>('POST', `${this.#path}/exec`, {
      json: {
        cmd,
        args,
        ...start(options),
        stdin: options.stdin,
        timeout_sec: options.timeoutSec ?? 30,
      },
    });
    const text = (data: string) => (answer.encoding === 'base64' ? fromBase64(data) : data);
    return {
      stdout: text(answer.stdout),
      stderr: text(answer.stderr),
      exitCode: answer.exit_code,
      durationMs: answer.duration_ms,
      ...(answer.error !== undefined && { error: answer.error }),
    };
  }

  #stream(cmd: string, args: readonly string[], options: RunOptions): Promise<CommandResult> {
    options.signal?.throwIfAborted();
    const socket = this.#connection.socket(`${this.#path}/exec/stream`);
    const send = (frame: object) => socket.send(JSON.stringify(frame));
    const output = { stdout: '', stderr: '' };
    const { promise, resolve, reject } = Promise.withResolvers<CommandResult>();
    let stopped = false;
    const stop = () => {
      if (socket.readyState === WebSocket.OPEN) {
        send({ type: 'stop' });
        stopped = true; // the API closes when the command is dead; closing first could overtake the stop
      }
      reject(options.signal?.reason);
    };
    options.signal?.addEventListener('abort', stop, { once: true });
    socket.addEventListener('open', () => {
      send({
        type: 'start',
        cmd,
        args,
        ...start(options),
        stdin: options.stdin !== undefined,
        timeout_sec: options.timeoutSec ?? 30,
      });
      if (options.stdin === undefined) return;
      for (const data of pieces(options.stdin)) send({ type: 'stdin', data });
      send({ type: 'close_stdin' });
    });
    socket.addEventListener('message', ({ data }) => {
      const frame = JSON.parse(String(data)) as Frame;
      if (frame.type === 'stdout' || frame.type === 'stderr') {
        output[frame.type] += frame.data;
        (frame.type === 'stdout' ? options.onStdout : options.onStderr)?.(frame.data);
      } else if (frame.type === 'exit') {
        const { exit_code: exitCode, duration_ms: durationMs, error } = frame;
        resolve({ ...output, exitCode, durationMs, ...(error !== undefined && { error }) });
      } else if (frame.type === 'error') {
        reject(errorOf(frame.status ?? 500, { error: frame }));
      }
    });
    socket.addEventListener('close', ({ code, reason }) => {
      reject(new ConnectionError('connection_lost', `The connection ended early (${code} ${reason}).`, 0));
    });
    return promise.finally(() => {
      options.signal?.removeEventListener('abort', stop);
      if (!stopped) socket.close();
    });
  }
}

/** A frame of the API's sockets has at most 4 MiB; a character has at most 3 bytes per UTF-16 unit. */
const MAX_STDIN_UNITS = 1_000_000;

/** A long text in frames, never cut inside a character. */
function* pieces(text: string): Generator<string> {
  for (let start = 0; start < text.length; ) {
    let end = Math.min(start + MAX_STDIN_UNITS, text.length);
    const last = text.charCodeAt(end - 1);
    if (end < text.length && last >= 0xd800 && last <= 0xdbff) end -= 1;
    yield text.slice(start, end);
    start = end;
  }
}

const start = ({ cwd, envs, user }: RunOptions) => ({ cwd, envs, user });

function fromBase64(data: string): string {
  return new TextDecoder().decode(Uint8Array.from(atob(data), (character) => character.charCodeAt(0)));
}

import { isUtf8 } from 'node:buffer';
import { Code, ConnectError } from '@connectrpc/connect';
import { WrennError } from '@wrenn/core';
import { Signal } from '@wrenn/proto/process/process_pb';
import type { Guest } from './guest.ts';
import { closeStdin, type ProcessRequest, sendInput, signalProcess, startProcess } from './guest-process.ts';

/** Both outputs of one `exec` together; what writes more is for the stream, which holds nothing in memory. */
export const MAX_OUTPUT_BYTES = 16_777_216;
/** One message of input to the guest. */
const INPUT_CHUNK_BYTES = 262_144;

export interface ExecResult {
  readonly stdout: string;
  readonly stderr: string;
  readonly exit_code: number;
  readonly duration_ms: number;
  /** `base64` (of both) where one of them is not UTF-8. */
  readonly encoding: 'utf-8' | 'base64';
}

/** Runs a command to its end (API2). One that outlives its time is killed by the guest: `timeout`, with what it wrote. */
export async function exec(
  guest: Guest,
  request: Omit<ProcessRequest, 'stdin'>,
  stdin: string | undefined,
  signal: AbortSignal,
): Promise<ExecResult> {
  const begun = performance.now();
  const output = new Output();
  let input: Promise<void> | undefined;
  const done = new AbortController();
  try {
    const whole: ProcessRequest = { ...request, stdin: stdin !== undefined };
    for await (const event of startProcess(guest, whole, signal)) {
      if (event.type === 'start') {
        if (stdin !== undefined) input = feed(guest, event.pid, stdin, AbortSignal.any([signal, done.signal]));
      } else if (event.type === 'exit') {
        return { ...output.texts(), exit_code: event.exitCode, duration_ms: since(begun) };
      } else if (!output.add(event.type, event.bytes)) {
        throw await tooLarge(guest, output.pid, signal);
      }
      if (event.type === 'start') output.pid = event.pid;
    }
  } catch (error) {
    if (error instanceof ConnectError && error.code === Code.DeadlineExceeded) {
      const details = { ...output.texts(), timeout_sec: (request.timeoutMs ?? 0) / 1_000, duration_ms: since(begun) };
      throw new WrennError('timeout', 'The command outlived its time and was killed.', { details, cause: error });
    }
    throw error;
  } finally {
    done.abort();
    await input;
  }
  throw new WrennError('guest_error', 'The guest ended the stream before the command.');
}

const since = (begun: number) => Math.round((performance.now() - begun) * 1_000) / 1_000;

/** A command need not read its input, and may end before all was sent. */
async function feed(guest: Guest, pid: number, text: string, signal: AbortSignal): Promise<void> {
  const bytes = Buffer.from(text);
  try {
    for (let start = 0; start < bytes.length; start += INPUT_CHUNK_BYTES) {
      const value = bytes.subarray(start, start + INPUT_CHUNK_BYTES);
      await sendInput(guest, { pid }, { case: 'stdin', value }, signal);
    }
    await closeStdin(guest, { pid }, signal);
  } catch {
    // its end says what became of it
  }
}

async function tooLarge(guest: Guest, pid: number | null, signal: AbortSignal): Promise<WrennError> {
  if (pid !== null) await signalProcess(guest, { pid }, Signal.SIGKILL, signal).catch(() => undefined);
  return new WrennError(
    'output_too_large',
    `It wrote more than ${MAX_OUTPUT_BYTES} bytes and was killed; use exec/stream for more.`,
    { details: { max_bytes: MAX_OUTPUT_BYTES } },
  );
}

class Output {
  pid: number | null = null;
  readonly #chunks = { stdout: [] as Uint8Array[], stderr: [] as Uint8Array[] };
  #bytes = 0;

  /** False when it is too much. */
  add(channel: 'stdout' | 'stderr' | 'pty', bytes: Uint8Array): boolean {
    this.#bytes += bytes.length;
    this.#chunks[channel === 'stderr' ? 'stderr' : 'stdout'].push(bytes);
    return this.#bytes <= MAX_OUTPUT_BYTES;
  }

  texts(): Pick<ExecResult, 'stdout' | 'stderr' | 'encoding'> {
    const stdout = Buffer.concat(this.#chunks.stdout);
    const stderr = Buffer.concat(this.#chunks.stderr);
    const encoding = isUtf8(stdout) && isUtf8(stderr) ? 'utf-8' : 'base64';
    return { stdout: stdout.toString(encoding), stderr: stderr.toString(encoding), encoding };
  }
}

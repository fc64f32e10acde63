import { Code, ConnectError } from '@connectrpc/connect';
import type { ConnectResponse, ProcessInput, Signal, StartResponse } from '@wrenn/proto/process/process_pb';
import { ERROR_CODE_HEADER } from '../agents/agent-error.ts';
import type { Guest } from './guest.ts';

/** What to start in a guest: an argument vector, never a shell's line. */
export interface ProcessRequest {
  readonly cmd: string;
  readonly args: readonly string[];
  readonly cwd?: string | undefined;
  readonly envs: Readonly<Record<string, string>>;
  readonly user: string | null;
  /** Input will be sent; otherwise it reads the end of file at once. */
  readonly stdin: boolean;
  /** Its lifetime, kept by the guest; null = none. */
  readonly timeoutMs: number | null;
  readonly tag?: string | undefined;
  readonly terminal?: { readonly cols: number; readonly rows: number };
}

export type ProcessSelector = { readonly pid: number } | { readonly tag: string };

export type ProcessOutput =
  | { readonly type: 'start'; readonly pid: number }
  | { readonly type: 'stdout' | 'stderr' | 'pty'; readonly bytes: Uint8Array }
  | { readonly type: 'exit'; readonly exitCode: number; readonly error: string | null };

/** Exit codes of a shell for a command that is not there, or cannot be executed. */
const NOT_FOUND = 127;
const NOT_EXECUTABLE = 126;

/** Silence on a stream is broken this often, so that nothing in between takes it for dead. */
const KEEPALIVE_SEC = 50;
/** The guest ends the process at its time and says so; this much later nobody waits for that any more. */
const DEADLINE_GRACE_MS = 10_000;

/** Starts a process and gives what comes of it. Leaving the loop, or the signal, leaves the process alone (VM8). */
export async function* startProcess(
  { agent, address }: Guest,
  request: ProcessRequest,
  signal: AbortSignal,
): AsyncGenerator<ProcessOutput, void> {
  const { timeoutMs, cwd, tag, terminal } = request;
  const headers = {
    'keepalive-ping-interval': String(KEEPALIVE_SEC),
    ...(timeoutMs !== null && { 'connect-timeout-ms': String(timeoutMs) }),
  };
  const limit =
    timeoutMs === null ? signal : AbortSignal.any([signal, AbortSignal.timeout(timeoutMs + DEADLINE_GRACE_MS)]);
  const events = agent.processes(address, request.user).start(
    {
      process: {
        cmd: request.cmd,
        args: [...request.args],
        envs: { ...request.envs },
        ...(cwd !== undefined && { cwd }),
      },
      stdin: request.stdin,
      ...(tag !== undefined && { tag }),
      ...(terminal && { pty: { size: terminal } }),
    },
    { headers, signal: limit },
  );
  try {
    yield* outputs(events);
  } catch (error) {
    const exitCode = failedExec(error);
    if (exitCode === null) throw error;
    const message = ConnectError.from(error).rawMessage;
    yield { type: 'stderr', bytes: Buffer.from(`${message}\n`) };
    yield { type: 'exit', exitCode, error: message };
  }
}

/** Attaches to a live process; with `replay` up to the last 1 MiB of its output comes first. */
export async function* connectProcess(
  { agent, address }: Guest,
  selector: ProcessSelector,
  replay: boolean,
  signal: AbortSignal,
): AsyncGenerator<ProcessOutput, void> {
  const headers = { 'keepalive-ping-interval': String(KEEPALIVE_SEC), ...(replay && { 'x-wrenn-replay': '1' }) };
  yield* outputs(agent.processes(address, null).connect({ process: protoSelector(selector) }, { headers, signal }));
}

export async function sendInput(
  { agent, address }: Guest,
  selector: ProcessSelector,
  input: { readonly case: 'stdin' | 'pty'; readonly value: Uint8Array },
  signal: AbortSignal,
): Promise<void> {
  const message = { input } as Pick<ProcessInput, 'input'>;
  await agent.processes(address, null).sendInput({ process: protoSelector(selector), input: message }, { signal });
}

export async function closeStdin({ agent, address }: Guest, selector: ProcessSelector, signal: AbortSignal) {
  await agent.processes(address, null).closeStdin({ process: protoSelector(selector) }, { signal });
}

export async function signalProcess(
  { agent, address }: Guest,
  selector: ProcessSelector,
  which: Signal,
  signal: AbortSignal,
): Promise<void> {
  await agent.processes(address, null).sendSignal({ process: protoSelector(selector), signal: which }, { signal });
}

export async function resizeTerminal(
  { agent, address }: Guest,
  selector: ProcessSelector,
  size: { readonly cols: number; readonly rows: number },
  signal: AbortSignal,
): Promise<void> {
  await agent.processes(address, null).update({ process: protoSelector(selector), pty: { size } }, { signal });
}

function protoSelector(selector: ProcessSelector) {
  return 'pid' in selector
    ? { selector: { case: 'pid' as const, value: selector.pid } }
    : { selector: { case: 'tag' as const, value: selector.tag } };
}

async function* outputs(events: AsyncIterable<StartResponse | ConnectResponse>): AsyncGenerator<ProcessOutput, void> {
  for await (const { event } of events) {
    const what = event?.event;
    if (what?.case === 'start') yield { type: 'start', pid: what.value.pid };
    else if (what?.case === 'data' && what.value.output.case !== undefined) {
      yield { type: what.value.output.case, bytes: what.value.output.value };
    } else if (what?.case === 'end') {
      yield { type: 'exit', exitCode: what.value.exitCode, error: what.value.error ?? null };
      return;
    }
  }
}

/** A command that is not there is a result, not a failure of ours (API2). */
function failedExec(error: unknown): number | null {
  if (!(error instanceof ConnectError) || error.metadata.has(ERROR_CODE_HEADER) || error.cause) return null;
  if (error.code === Code.NotFound) return NOT_FOUND;
  return error.code === Code.PermissionDenied ? NOT_EXECUTABLE : null;
}

import { performance } from 'node:perf_hooks';
import { create } from '@bufbuild/protobuf';
import {
  type ExecRequest,
  type ExecResponse,
  ExecResponseSchema,
  type ExecStreamResponse,
  ExecStreamResponseSchema,
} from '@wrenn/proto/hostagent/v1/hostagent_pb';
import type { ProcessEvent_EndEvent } from '@wrenn/proto/process/process_pb';
import { type Command, runCommand } from '../guest/exec.ts';
import { checkSandboxId } from './command.ts';
import { requireReady, type ServiceContext } from './context.ts';
import { failure } from './failure.ts';

/** An answer in one piece is held in memory by three programs; more than this is for `ExecStream`. */
const MAX_OUTPUT_BYTES = 64 << 20;

/** Runs a command to its end. */
export async function exec(context: ServiceContext, request: ExecRequest, signal: AbortSignal): Promise<ExecResponse> {
  const output = { stdout: [] as Uint8Array[], stderr: [] as Uint8Array[] };
  let size = 0;
  let exit: ExecResponse | undefined;
  // Read to its end: a stream that is left early keeps its deadline's timer.
  for await (const { event } of execStream(context, request, signal)) {
    if (event.case === 'exit') exit = event.value;
    if (event.case !== 'stdout' && event.case !== 'stderr') continue;
    size += event.value.length;
    if (size > MAX_OUTPUT_BYTES) {
      throw failure('payload_too_large', `the output is larger than ${MAX_OUTPUT_BYTES} bytes: stream it`);
    }
    output[event.case].push(event.value);
  }
  if (exit === undefined) {
    throw failure('guest_error', 'the command ended without an exit status', { retryable: true });
  }
  const [stdout, stderr] = [Buffer.concat(output.stdout), Buffer.concat(output.stderr)];
  return create(ExecResponseSchema, { ...exit, stdout, stderr });
}

/** What happens to a command, as it happens. No limit but its own `timeout_ms` (AG2); leaving does not end it. */
export async function* execStream(
  context: ServiceContext,
  request: ExecRequest,
  signal: AbortSignal,
): AsyncGenerator<ExecStreamResponse> {
  const vm = requireReady(context, checkSandboxId(request.sandboxId), request.incarnation);
  if (request.cmd === '') throw failure('bad_request', 'cmd is missing');
  const started = performance.now();
  const release = context.activity.hold(vm.sandboxId);
  try {
    for await (const { event } of runCommand(vm.guest, asCommand(request), signal)) {
      if (event.case === 'start') yield respond({ case: 'pid', value: event.value.pid });
      else if (event.case === 'data') {
        const { output } = event.value;
        if (output.case === 'stdout' || output.case === 'stderr') yield respond(output);
      } else if (event.case === 'end') {
        yield respond({ case: 'exit', value: exitOf(event.value, performance.now() - started) });
      }
    }
  } finally {
    release();
    void context.snapshots.firstTouches.end(vm.vmId);
  }
}

function asCommand(request: ExecRequest): Command {
  const { cmd, args, cwd, envs, stdin, user, timeoutMs } = request;
  return { cmd, args, cwd, envs, stdin, user, timeoutMs };
}

function respond(event: ExecStreamResponse['event']): ExecStreamResponse {
  return create(ExecStreamResponseSchema, { event });
}

function exitOf(end: ProcessEvent_EndEvent, durationMs: number): ExecResponse {
  return create(ExecResponseSchema, {
    exitCode: end.exitCode,
    durationMs,
    error: end.exited ? '' : (end.error ?? end.status),
  });
}

import type { CallOptions } from '@connectrpc/connect';
import type { ProcessEvent } from '@wrenn/proto/process/process_pb';
import type { Guest } from './guest.ts';

/** Standard input goes in pieces: one call of any size would be held whole by three programs. */
const STDIN_CHUNK_BYTES = 256 << 10;

export interface Command {
  readonly cmd: string;
  readonly args: readonly string[];
  readonly cwd: string;
  readonly envs: Readonly<Record<string, string>>;
  readonly stdin: Uint8Array;
  /** Empty: the sandbox's default user. */
  readonly user: string;
  /** The command's lifetime; 0: none. */
  readonly timeoutMs: number;
}

/**
 * Starts a command and yields what happens to it, the start first and the end last. Leaving the iteration, or a lost
 * connection, does not end the command (VM8).
 */
export async function* runCommand(guest: Guest, command: Command, signal: AbortSignal): AsyncGenerator<ProcessEvent> {
  const { cmd, args, cwd, envs, stdin } = command;
  const headers = userHeader(command.user);
  const options: CallOptions = { signal, headers, ...(command.timeoutMs > 0 && { timeoutMs: command.timeoutMs }) };
  const request = {
    process: { cmd, args: [...args], envs: { ...envs }, ...(cwd !== '' && { cwd }) },
    stdin: stdin.length > 0,
  };
  let feeding: Promise<void> | undefined;
  for await (const { event } of guest.processes.start(request, options)) {
    if (event === undefined) continue;
    if (event.event.case === 'start' && stdin.length > 0) {
      feeding = feed(guest, event.event.value.pid, stdin, { signal, headers });
      feeding.catch(() => {}); // a command that ends without reading its input is no failure
    }
    yield event;
  }
  await feeding?.catch(() => {});
}

async function feed(guest: Guest, pid: number, stdin: Uint8Array, options: CallOptions): Promise<void> {
  const process = { selector: { case: 'pid' as const, value: pid } };
  for (let from = 0; from < stdin.length; from += STDIN_CHUNK_BYTES) {
    const value = stdin.subarray(from, from + STDIN_CHUNK_BYTES);
    await guest.processes.sendInput({ process, input: { input: { case: 'stdin', value } } }, options);
  }
  await guest.processes.closeStdin({ process }, options);
}

/** envd takes the user from a Basic credential without a password. */
function userHeader(user: string): Record<string, string> {
  return user === '' ? {} : { authorization: `Basic ${Buffer.from(`${user}:`).toString('base64')}` };
}

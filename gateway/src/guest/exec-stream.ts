import { Signal } from '@wrenn/proto/process/process_pb';
import { badRequest } from '../http/problems.ts';
import type { Socket, SocketMessage } from '../http/socket.ts';
import type { Guest } from './guest.ts';
import {
  closeStdin,
  connectProcess,
  type ProcessOutput,
  type ProcessSelector,
  sendInput,
  signalProcess,
  startProcess,
} from './guest-process.ts';
import { OutputText } from './output-text.ts';
import type { ProcessProtocol } from './process-session.ts';
import { type ExecFirst, execFirst, execMessage, parseMessage } from './socket-messages.ts';

/** WS `/exec/stream` of API2: a command with its outputs apart, as text or base64. */
export class ExecStream implements ProcessProtocol {
  #encoding: 'utf-8' | 'base64' = 'utf-8';
  #text = new OutputText('utf-8');
  #begun = performance.now();

  begin(guest: Guest, first: SocketMessage, signal: AbortSignal): AsyncGenerator<ProcessOutput, void> {
    const message = parseMessage(execFirst, first);
    this.#encoding = message.encoding;
    this.#text = new OutputText(message.encoding);
    this.#begun = performance.now();
    if (message.type === 'connect') return connectProcess(guest, selector(message), message.replay, signal);
    return startProcess(guest, requestOf(message), signal);
  }

  async output(socket: Socket, output: ProcessOutput): Promise<void> {
    if (output.type === 'start') return socket.sendJson(output);
    if (output.type === 'exit') return this.#exit(socket, output);
    const channel = output.type === 'stderr' ? 'stderr' : 'stdout';
    const data = this.#text.add(channel, output.bytes);
    if (data !== '') await socket.sendJson({ type: channel, data });
  }

  async input(guest: Guest, pid: number, frame: SocketMessage, signal: AbortSignal): Promise<void> {
    const message = parseMessage(execMessage, frame);
    switch (message.type) {
      case 'stdin':
        return sendInput(guest, { pid }, { case: 'stdin', value: this.#bytes(message.data) }, signal);
      case 'close_stdin':
        return closeStdin(guest, { pid }, signal);
      case 'signal':
        return signalProcess(guest, { pid }, Signal[message.signal], signal);
      case 'stop':
        return signalProcess(guest, { pid }, Signal.SIGKILL, signal);
    }
  }

  async #exit(socket: Socket, { exitCode, error }: ProcessOutput & { type: 'exit' }): Promise<void> {
    for (const channel of ['stdout', 'stderr'] as const) {
      const data = this.#text.rest(channel);
      if (data !== '') await socket.sendJson({ type: channel, data });
    }
    const duration_ms = Math.round((performance.now() - this.#begun) * 1_000) / 1_000;
    await socket.sendJson({ type: 'exit', exit_code: exitCode, ...(error !== null && { error }), duration_ms });
  }

  #bytes(data: string): Uint8Array {
    return Buffer.from(data, this.#encoding === 'base64' ? 'base64' : 'utf8');
  }
}

function requestOf(message: ExecFirst & { type: 'start' }) {
  const { timeout_sec, user, type: _type, encoding: _encoding, ...command } = message;
  return { ...command, user: user ?? null, timeoutMs: timeout_sec === 0 ? null : timeout_sec * 1_000 };
}

/** Which live process is meant. */
export function selector({ pid, tag }: { pid?: number | undefined; tag?: string | undefined }): ProcessSelector {
  if (pid !== undefined && tag === undefined) return { pid };
  if (tag !== undefined && pid === undefined) return { tag };
  throw badRequest('Name a process by pid or by tag.');
}

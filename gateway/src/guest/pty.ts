import { Signal } from '@wrenn/proto/process/process_pb';
import type { Socket, SocketMessage } from '../http/socket.ts';
import { selector } from './exec-stream.ts';
import type { Guest } from './guest.ts';
import {
  connectProcess,
  type ProcessOutput,
  resizeTerminal,
  sendInput,
  signalProcess,
  startProcess,
} from './guest-process.ts';
import type { ProcessProtocol } from './process-session.ts';
import { type PtyFirst, parseMessage, ptyFirst, ptyMessage } from './socket-messages.ts';

/** What a terminal's programs expect to find. */
const TERMINAL_ENVS = { TERM: 'xterm-256color', LANG: 'C.UTF-8', LC_ALL: 'C.UTF-8' };
const LOGIN_SHELL = { cmd: '/bin/bash', args: ['-i', '-l'] };

/** WS `/pty` of API2: binary frames are the terminal's bytes both ways, text frames control it. */
export class PtySession implements ProcessProtocol {
  begin(guest: Guest, first: SocketMessage, signal: AbortSignal): AsyncGenerator<ProcessOutput, void> {
    const message = parseMessage(ptyFirst, first);
    if (message.type === 'connect') return connectProcess(guest, selector(message), message.replay, signal);
    return startProcess(guest, requestOf(message), signal);
  }

  async output(socket: Socket, output: ProcessOutput): Promise<void> {
    if (output.type === 'start') return socket.sendJson(output);
    if (output.type !== 'exit') return socket.send(output.bytes);
    const { exitCode, error } = output;
    await socket.sendJson({ type: 'exit', exit_code: exitCode, ...(error !== null && { error }) });
  }

  async input(guest: Guest, pid: number, frame: SocketMessage, signal: AbortSignal): Promise<void> {
    if (frame.type === 'binary') return sendInput(guest, { pid }, { case: 'pty', value: frame.bytes }, signal);
    const message = parseMessage(ptyMessage, frame);
    switch (message.type) {
      case 'stdin':
        return sendInput(guest, { pid }, { case: 'pty', value: Buffer.from(message.data) }, signal);
      case 'resize':
        return resizeTerminal(guest, { pid }, { cols: message.cols, rows: message.rows }, signal);
      case 'signal':
        return signalProcess(guest, { pid }, Signal[message.signal], signal);
      case 'stop':
        return signalProcess(guest, { pid }, Signal.SIGKILL, signal);
    }
  }
}

function requestOf(message: PtyFirst & { type: 'start' }) {
  const { cols, rows, cmd, args, cwd, envs, user, tag } = message;
  return {
    ...(cmd === undefined ? LOGIN_SHELL : { cmd, args }),
    cwd,
    envs: { ...TERMINAL_ENVS, ...envs },
    user: user ?? null,
    tag,
    stdin: true,
    timeoutMs: null,
    terminal: { cols, rows },
  };
}

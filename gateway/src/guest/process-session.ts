import { WrennError } from '@wrenn/core';
import type { Socket, SocketMessage } from '../http/socket.ts';
import type { Services } from '../services.ts';
import { explain, type Guest, openGuest } from './guest.ts';
import type { ProcessOutput } from './guest-process.ts';

/** RFC 6455: the peer sent something of a kind that is not accepted. */
const UNSUPPORTED_DATA = 1003;
const INTERNAL_ERROR = 1011;
/** Time for what a client sent just before it left, such as `stop`. */
const LAST_WORDS_MS = 5_000;

/** One command or terminal on one WebSocket: how it begins, and what becomes of what either side sends. */
export interface ProcessProtocol {
  /** Reads the first message; what it throws is the client's mistake. */
  begin(guest: Guest, first: SocketMessage, signal: AbortSignal): AsyncGenerator<ProcessOutput, void>;
  /** Forwards one output; resolves when the client keeps up. */
  output(socket: Socket, output: ProcessOutput): Promise<void>;
  /** Does what a later message asks; `pid` is of the process. */
  input(guest: Guest, pid: number, message: SocketMessage, signal: AbortSignal): Promise<void>;
}

/**
 * Prepares a session before the upgrade, so that 404 and 409 are ordinary HTTP answers. The session ends with the
 * process, with an error, or with the socket; the process lives on when the client leaves (VM8).
 */
export async function processSession(
  services: Services,
  teamId: string,
  sandboxId: string,
  protocol: ProcessProtocol,
): Promise<(socket: Socket) => Promise<void>> {
  const guest = await openGuest(services, teamId, sandboxId);
  return async (socket) => {
    const messages = socket.messages[Symbol.asyncIterator]();
    try {
      const first = await messages.next();
      if (!first.done) await run(guest, protocol, socket, first.value, messages);
    } catch (error) {
      if (socket.signal.aborted) return;
      const told = await explain(services, guest, error);
      await sendError(socket, told).catch(() => undefined);
      socket.close(told.status < 500 ? UNSUPPORTED_DATA : INTERNAL_ERROR, told.code);
    }
  };
}

async function run(
  guest: Guest,
  protocol: ProcessProtocol,
  socket: Socket,
  first: SocketMessage,
  messages: AsyncIterator<SocketMessage>,
): Promise<void> {
  const over = new AbortController();
  const signal = AbortSignal.any([socket.signal, over.signal]);
  let inputs: Promise<void> | undefined;
  let inputFailure: unknown;
  try {
    for await (const output of protocol.begin(guest, first, signal)) {
      await protocol.output(socket, output);
      if (output.type === 'exit') return;
      if (output.type !== 'start') continue;
      inputs = forwardInputs(guest, protocol, output.pid, messages, over.signal).catch((error: unknown) => {
        if (signal.aborted) return;
        inputFailure = error;
        over.abort(error);
      });
    }
    if (!socket.signal.aborted) throw new WrennError('guest_error', 'The guest ended the stream before the process.');
  } catch (error) {
    throw inputFailure ?? error;
  } finally {
    if (socket.signal.aborted && inputs !== undefined) {
      const timer = setTimeout(() => over.abort(), LAST_WORDS_MS);
      await inputs; // ends with what the socket had received
      clearTimeout(timer);
    }
    over.abort(); // else it waits for a message that may never come: it ends with the socket
  }
}

async function forwardInputs(
  guest: Guest,
  protocol: ProcessProtocol,
  pid: number,
  messages: AsyncIterator<SocketMessage>,
  signal: AbortSignal,
): Promise<void> {
  for (;;) {
    const next = await messages.next();
    if (next.done || signal.aborted) return;
    await protocol.input(guest, pid, next.value, signal);
  }
}

function sendError(socket: Socket, error: WrennError): Promise<void> {
  return socket.sendJson({ type: 'error', code: error.code, message: error.message, details: error.details });
}

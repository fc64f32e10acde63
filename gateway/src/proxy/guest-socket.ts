import type { IncomingMessage } from 'node:http';
import WebSocket from 'ws';
import type { SocketFailure } from './agent-socket.ts';
import { MAX_MESSAGE_BYTES } from './socket-relay.ts';

export interface DialOptions {
  /** The agent's, `ip:port`. */
  readonly address: string;
  readonly path: string;
  /** Name, value… of the client's request, with ours. */
  readonly fields: readonly string[];
  readonly signal: AbortSignal;
}

export interface GuestSocket {
  readonly kind: 'open';
  /** Paused: nothing is read before `resume`. */
  readonly socket: WebSocket;
  /** The subprotocol that the guest chose, or nothing. */
  readonly protocol: string;
  /** What of the guest's answer the client is told as well: cookies. */
  readonly fields: readonly (readonly [string, string])[];
}

export interface GuestRefusal {
  readonly kind: 'refused';
  /** The agent's front refused, not the guest. */
  readonly frontError: string | null;
  readonly status: number;
  readonly fields: readonly (readonly [string, string])[];
  readonly body: string;
}

export type DialAnswer = GuestSocket | GuestRefusal | { readonly kind: 'failed'; readonly failure: SocketFailure };

/** Of the answer of a guest that does not want a WebSocket. */
const MAX_REFUSAL_BYTES = 65_536;

/** Fields that are the handshake's own; the client's extensions are not offered: frames are passed on as they are. */
const HANDSHAKE = new Set([
  'sec-websocket-key',
  'sec-websocket-version',
  'sec-websocket-extensions',
  'sec-websocket-protocol',
  'sec-websocket-accept',
]);
/** Of a refusal: what belongs to its connection. */
const HOP = new Set(['connection', 'transfer-encoding', 'content-length', 'date', 'upgrade', 'keep-alive']);

/** Opens the guest's side of a WebSocket through its agent. */
export function dialGuest({ address, path, fields, signal }: DialOptions): Promise<DialAnswer> {
  const headers: Record<string, string | string[]> = {};
  let protocols: string[] = [];
  for (let at = 0; at < fields.length; at += 2) {
    const [name, value] = [fields[at] as string, fields[at + 1] as string];
    if (name === 'sec-websocket-protocol') protocols = [...protocols, ...value.split(',').map((one) => one.trim())];
    if (HANDSHAKE.has(name)) continue;
    const before = headers[name];
    headers[name] = before === undefined ? value : [before, value].flat();
  }
  return new Promise((resolve) => {
    let socket: WebSocket;
    try {
      socket = new WebSocket(`ws://${address}${path}`, protocols, {
        headers,
        perMessageDeflate: false,
        maxPayload: MAX_MESSAGE_BYTES,
        autoPong: false, // pings go to the client, and its answers back
        followRedirects: false,
      });
    } catch {
      resolve(malformed()); // subprotocols that are no tokens
      return;
    }
    const cut = () => socket.terminate();
    signal.addEventListener('abort', cut, { once: true });
    const settle = (answer: DialAnswer) => {
      signal.removeEventListener('abort', cut);
      resolve(answer);
    };
    let cookies: (readonly [string, string])[] = [];
    socket.on('upgrade', ({ headers: { 'set-cookie': set } }: IncomingMessage) => {
      cookies = (set ?? []).map((cookie) => ['set-cookie', cookie]);
    });
    socket.on('open', () => {
      socket.pause();
      settle({ kind: 'open', socket, protocol: socket.protocol, fields: cookies });
    });
    socket.on('unexpected-response', (request, response: IncomingMessage) => {
      void readRefusal(response).then((refusal) => {
        settle(refusal);
        request.destroy();
      });
    });
    socket.on('error', (error: Error & { syscall?: string }) =>
      settle({ kind: 'failed', failure: error.syscall === 'connect' ? 'connect' : 'broken' }),
    ); // after `open` nothing is settled any more; `close` follows
  });
}

async function readRefusal(response: IncomingMessage): Promise<GuestRefusal> {
  const chunks: Buffer[] = [];
  let size = 0;
  try {
    for await (const chunk of response as AsyncIterable<Buffer>) {
      chunks.push(chunk);
      size += chunk.length;
      if (size > MAX_REFUSAL_BYTES) break;
    }
  } catch {
    // What came is told.
  }
  const fields: [string, string][] = [];
  for (let at = 0; at < response.rawHeaders.length; at += 2) {
    const name = (response.rawHeaders[at] as string).toLowerCase();
    if (!HOP.has(name) && !HANDSHAKE.has(name)) fields.push([name, response.rawHeaders[at + 1] as string]);
  }
  return {
    kind: 'refused',
    frontError: (response.headers['wrenn-error-code'] as string | undefined) ?? null,
    status: response.statusCode ?? 502,
    fields,
    body: Buffer.concat(chunks).subarray(0, MAX_REFUSAL_BYTES).toString('utf8'),
  };
}

function malformed(): GuestRefusal {
  const body = JSON.stringify({
    error: { code: 'bad_request', message: 'Sec-WebSocket-Protocol: must be a list of distinct tokens.', details: {} },
  });
  return { kind: 'refused', frontError: null, status: 400, fields: [['content-type', 'application/json']], body };
}

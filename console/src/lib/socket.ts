import { session } from './session.svelte.ts';

/** Opens a WebSocket of the API. A browser can set no header, so the token travels as a second subprotocol. */
export function openSocket(path: string): WebSocket {
  const url = new URL(path, location.origin);
  url.protocol = url.protocol.replace('http', 'ws');
  const protocols = ['wrenn.v1'];
  if (session.token) protocols.push(`wrenn.auth.${session.token}`);
  const socket = new WebSocket(url, protocols);
  socket.binaryType = 'arraybuffer';
  return socket;
}

const FIRST_WAIT_MS = 500;
const LONGEST_WAIT_MS = 15_000;

/** How long to wait before attempt `n` (from 1): doubling, with half of it random, so that not all come at once. */
export function backOff(attempt: number): number {
  const whole = Math.min(LONGEST_WAIT_MS, FIRST_WAIT_MS * 2 ** (attempt - 1));
  return whole / 2 + Math.random() * (whole / 2);
}

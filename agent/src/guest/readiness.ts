import { createConnection } from 'node:net';
import { onReadyLine } from './console.ts';

const ENVD_PORT = 49983;
/**
 * A SYN that comes before the guest's network is up is lost, and the kernel sends the next one only after 1 s: a new
 * connection soon is better. Each that stays without an answer gets more time, for a guest on a busy machine is slow.
 */
const FIRST_PATIENCE_MS = 50;
const LONGEST_PATIENCE_MS = 1_000;
/** After a refusal the guest's kernel is up and envd is about to be: soon again, but not in a loop. */
const FIRST_PAUSE_MS = 5;
const LONGEST_PAUSE_MS = 100;
/** A service of the image starts for seconds: no need to ask more often. */
const SERVICE_PAUSE_MS = 100;

/**
 * Resolves when envd accepts connections (VM6). The console's ready line starts an attempt at once; attempts that are
 * paced by what the last one met are there for guests that write no such line.
 */
export async function untilListening(hostIp: string, console: string, signal: AbortSignal): Promise<void> {
  let wake = () => {};
  const stop = onReadyLine(console, () => wake());
  try {
    let pause = FIRST_PAUSE_MS;
    let patience = FIRST_PATIENCE_MS;
    while (true) {
      signal.throwIfAborted();
      const hint = new Promise<void>((resolve) => {
        wake = resolve;
      });
      const outcome = await Promise.race([attempt(hostIp, patience, signal), hint.then(() => 'hint' as const)]);
      if (outcome === 'open') return;
      if (outcome !== 'refused') patience = Math.min(1.5 * patience, LONGEST_PATIENCE_MS);
      if (outcome === 'refused') {
        await Promise.race([delay(pause, signal), hint]);
        pause = Math.min(2 * pause, LONGEST_PAUSE_MS);
      }
    }
  } finally {
    stop();
  }
}

/** Resolves when the image's services are ready: their port accepts connections. */
export async function untilServing(hostIp: string, port: number, signal: AbortSignal): Promise<void> {
  while ((await attempt(hostIp, LONGEST_PATIENCE_MS, signal, port)) !== 'open') {
    signal.throwIfAborted();
    await delay(SERVICE_PAUSE_MS, signal);
  }
}

/** `refused` came from the guest's kernel, or the way there is not open yet; `silent` means that nobody answered in time. */
function attempt(
  host: string,
  patienceMs: number,
  signal: AbortSignal,
  port = ENVD_PORT,
): Promise<'open' | 'refused' | 'silent'> {
  return new Promise((resolve) => {
    const socket = createConnection({ host, port });
    const end = (outcome: 'open' | 'refused' | 'silent') => {
      clearTimeout(timer);
      signal.removeEventListener('abort', abort);
      socket.destroy();
      resolve(outcome);
    };
    const abort = () => end('silent');
    const timer = setTimeout(abort, patienceMs);
    signal.addEventListener('abort', abort, { once: true });
    socket.on('connect', () => end('open')).on('error', () => end('refused'));
  });
}

function delay(milliseconds: number, signal: AbortSignal): Promise<void> {
  return new Promise((resolve) => {
    const end = () => {
      clearTimeout(timer);
      signal.removeEventListener('abort', end);
      resolve();
    };
    const timer = setTimeout(end, milliseconds);
    signal.addEventListener('abort', end, { once: true });
  });
}

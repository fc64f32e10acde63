import { chownSync, mkdirSync } from 'node:fs';
import { connect } from 'node:net';
import { join } from 'node:path';
import { type Daemon, startDaemon } from '../lib/daemon.ts';
import { freePort } from '../lib/free-port.ts';

export interface RedisOptions {
  /** Owns everything: `dump.rdb`, `log`. Made when absent. */
  dir: string;
  /** Default: a free one. */
  port?: number;
  /** Keep data over restarts (default). Losing Redis loses no state, so tests turn it off. */
  persist?: boolean;
  /** Ends with its starter. */
  tied?: boolean;
  logFile?: string;
  pidFile?: string;
  signal?: AbortSignal;
}

export interface Redis extends Daemon {
  dir: string;
  port: number;
  /** Connection URL of a numbered database (0 to 4095). */
  url(database?: number): string;
}

/** Each test file takes a numbered database of its own. */
const DATABASES = 4096;

/** Starts a Redis of its own in `dir`, on loopback. */
export async function startRedis(options: RedisOptions): Promise<Redis> {
  const { dir } = options;
  const port = options.port ?? (await freePort());
  mkdirSync(dir, { recursive: true });
  if (process.getuid?.() === 0) chownSync(dir, 65_534, 65_534);
  const settings: Record<string, string> = {
    port: String(port),
    bind: '127.0.0.1',
    dir,
    daemonize: 'no',
    databases: String(DATABASES),
    save: options.persist === false ? '' : '60 1',
    appendonly: 'no',
  };
  const daemon = await startDaemon({
    name: 'redis',
    argv: ['redis-server', ...Object.entries(settings).flatMap(([name, value]) => [`--${name}`, value])],
    logFile: options.logFile ?? join(dir, 'log'),
    ...(options.pidFile === undefined ? {} : { pidFile: options.pidFile }),
    ...(options.signal === undefined ? {} : { signal: options.signal }),
    ...(options.tied ? { onStarterDeath: 'SIGTERM' as const } : {}),
    unprivileged: true,
    ready: () => ping(port),
  });
  return { ...daemon, dir, port, url: (database = 0) => `redis://127.0.0.1:${port}/${database}` };
}

/** Redis answers an inline PING as soon as its data is loaded; before that it says LOADING. */
function ping(port: number): Promise<boolean> {
  return new Promise((resolve) => {
    const socket = connect(port, '127.0.0.1', () => socket.write('PING\r\n'));
    const done = (up: boolean) => {
      socket.destroy();
      resolve(up);
    };
    socket.once('data', (data) => done(data.toString().startsWith('+PONG')));
    socket.once('error', () => done(false));
    socket.setTimeout(2_000, () => done(false));
  });
}

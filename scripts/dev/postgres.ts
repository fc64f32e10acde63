import { execFile } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import {
  chownSync,
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  readlinkSync,
  rmSync,
  writeFileSync,
} from 'node:fs';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { promisify } from 'node:util';
import pg from 'pg';
import { asNobody, type Daemon, startDaemon } from '../lib/daemon.ts';
import { freePort } from '../lib/free-port.ts';
import { startTimeOf } from '../lib/process-record.ts';
import { postgresBinaries } from './postgres-binaries.ts';

export interface PostgresOptions {
  /** Owns everything: `data/`, `password`, `log`, the socket. Made when absent. */
  dir: string;
  /** Default: a free one. */
  port?: number;
  /** Survive a power cut (default). Tests turn it off: a killed process loses nothing either way. */
  fsync?: boolean;
  /** Ends with its starter. */
  tied?: boolean;
  logFile?: string;
  pidFile?: string;
  signal?: AbortSignal;
}

export interface Postgres extends Daemon {
  dir: string;
  port: number;
  /** Connection URL of a database over loopback, with the superuser `wrenn`. */
  url(database: string): string;
}

const SUPERUSER = 'wrenn';
/** Backends see within milliseconds that their server has died. */
const REMAINS_MS = 10_000;
const REMAINS_POLL_MS = 20;
/** A Unix socket's path must fit in sockaddr_un (108 bytes with its terminator); beyond it there is only the loopback port. */
const SOCKET_PATH_MAX = 107;

/** Starts a PostgreSQL of its own in `dir`, making the data folder the first time. */
export async function startPostgres(options: PostgresOptions): Promise<Postgres> {
  const { dir } = options;
  const binaries = await postgresBinaries();
  const port = options.port ?? (await freePort());
  mkdirSync(dir, { recursive: true });
  giveToNobody(dir);
  const password = await initialise(binaries.initdb, dir);
  await clearRemains(dir, port);
  const url = (database: string) => `postgres://${SUPERUSER}:${password}@127.0.0.1:${port}/${database}`;
  const daemon = await startDaemon({
    name: 'postgres',
    argv: [binaries.postgres, '-D', join(dir, 'data'), ...settings(options, port)],
    env: { PATH: process.env.PATH, LC_ALL: 'C' },
    logFile: options.logFile ?? join(dir, 'log'),
    ...(options.pidFile === undefined ? {} : { pidFile: options.pidFile }),
    ...(options.signal === undefined ? {} : { signal: options.signal }),
    ...(options.tied ? { onStarterDeath: 'SIGINT' as const } : {}),
    unprivileged: true,
    stopSignal: 'SIGINT', // "fast shutdown": SIGTERM would wait for every client to leave
    ready: () => answers(url('postgres')),
  });
  return { ...daemon, dir, port, url };
}

/** The superuser's password of a data folder that was made before. */
export function readPassword(dir: string): string {
  return readFileSync(join(dir, 'password'), 'utf8').trim();
}

/** Creates a database when it is absent; true when it was made. */
export async function ensureDatabase(postgres: Pick<Postgres, 'url'>, name: string): Promise<boolean> {
  const client = new pg.Client({ connectionString: postgres.url('postgres') });
  await client.connect();
  try {
    const { rowCount } = await client.query('select 1 from pg_database where datname = $1', [name]);
    if (rowCount) return false;
    await client.query(`create database ${client.escapeIdentifier(name)}`);
    return true;
  } finally {
    await client.end();
  }
}

/** initdb, once: an interrupted one is thrown away, since a data folder without PG_VERSION serves nothing. */
async function initialise(initdb: string, dir: string): Promise<string> {
  const data = join(dir, 'data');
  const passwordFile = join(dir, 'password');
  if (existsSync(join(data, 'PG_VERSION')) && existsSync(passwordFile)) return readPassword(dir);
  const making = join(dir, 'data.new');
  rmSync(making, { recursive: true, force: true });
  rmSync(data, { recursive: true, force: true });
  const password = randomBytes(18).toString('hex');
  writeFileSync(passwordFile, `${password}\n`, { mode: 0o600 });
  giveToNobody(passwordFile);
  const argv = [...asNobody(), initdb, '-D', making, '-U', SUPERUSER, '--no-locale', '--encoding=UTF8'];
  argv.push('--auth=scram-sha-256', `--pwfile=${passwordFile}`, '--no-sync', '--no-instructions');
  const [program, ...args] = argv as [string, ...string[]];
  await promisify(execFile)(program, args, { cwd: '/', env: { PATH: process.env.PATH, LC_ALL: 'C' } });
  await promisify(execFile)('mv', [making, data]);
  return password;
}

/**
 * What a killed server leaves: backends that end a moment later, and lock files that count while its process is a zombie,
 * which an init that reaps nothing leaves for ever.
 */
async function clearRemains(dir: string, port: number): Promise<void> {
  const data = join(dir, 'data');
  const locks = [join(data, 'postmaster.pid'), socketLock(dir, port)].filter(isOfTheDead);
  if (locks.length === 0) return;
  const deadline = Date.now() + REMAINS_MS;
  while (worksIn(data)) {
    if (Date.now() > deadline) return; // PostgreSQL says what is wrong
    await sleep(REMAINS_POLL_MS);
  }
  for (const lock of locks) rmSync(lock, { force: true });
}

const socketLock = (dir: string, port: number): string => join(dir, `.s.PGSQL.${port}.lock`);

/** The first line of a lock file is the pid of its server. */
function isOfTheDead(lock: string): boolean {
  return existsSync(lock) && startTimeOf(Number.parseInt(readFileSync(lock, 'utf8'), 10)) === undefined;
}

/** Whether any process has the folder as its own: a server's have. */
function worksIn(folder: string): boolean {
  return readdirSync('/proc').some((name) => {
    try {
      return /^\d+$/.test(name) && readlinkSync(`/proc/${name}/cwd`) === folder;
    } catch {
      return false; // it ended, or is somebody else's
    }
  });
}

function settings(options: PostgresOptions, port: number): string[] {
  const socketFits = socketLock(options.dir, port).length <= SOCKET_PATH_MAX;
  const values: Record<string, string> = {
    port: String(port),
    listen_addresses: '127.0.0.1',
    unix_socket_directories: socketFits ? options.dir : '',
    unix_socket_permissions: '0700',
    max_connections: '300',
    shared_buffers: '128MB',
    log_line_prefix: '%m [%p] ',
    ...(options.fsync === false ? { fsync: 'off', full_page_writes: 'off' } : {}),
  };
  return Object.entries(values).flatMap(([name, value]) => ['-c', `${name}=${value}`]);
}

async function answers(url: string): Promise<boolean> {
  const client = new pg.Client({ connectionString: url, connectionTimeoutMillis: 2_000 });
  client.on('error', () => undefined); // a server that is still starting may cut the connection
  try {
    await client.connect();
    return true;
  } catch {
    return false;
  } finally {
    await client.end().catch(() => undefined);
  }
}

function giveToNobody(path: string): void {
  if (process.getuid?.() === 0) chownSync(path, 65_534, 65_534);
}

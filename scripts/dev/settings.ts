import { randomBytes } from 'node:crypto';
import { existsSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { STATE_DIR } from '../lib/checkout.ts';
import { freePort } from '../lib/free-port.ts';

/** Where one development stack keeps what it has and where its programs listen. */
export interface StackSettings {
  /** Databases, logs, pid files, secrets. */
  dir: string;
  /** The agent's root folder, with kernels and images. */
  wrennDir: string;
  /** Control plane, `address:port`. */
  listen: string;
  agentListen: string;
  /** Sandboxes are reached as `{port}-{id}.{domain}`; with the port that clients must write. */
  domain: string;
  /** Network slots of the agent, `first-last`. */
  slots: string;
  postgresPort: number;
  redisPort: number;
  jwtSecret: string;
}

/** What must stay the same from one start to the next. */
interface Kept {
  postgresPort: number;
  redisPort: number;
  jwtSecret: string;
}

const DEFAULT_LISTEN = '127.0.0.1:8080';

/** Not all 9999, so that tests and a second stack find a range apart from that of `make up`. */
const DEV_SLOTS = '1-999';

/** Settings of the stack of `make up`; the environment (or `.env`) may name other addresses and folders. */
export async function stackSettings(env: NodeJS.ProcessEnv = process.env, dir = STATE_DIR): Promise<StackSettings> {
  return {
    dir,
    wrennDir: env.WRENN_DIR ?? join(dir, 'lib'),
    listen: env.WRENN_LISTEN ?? DEFAULT_LISTEN,
    agentListen: env.WRENN_AGENT_LISTEN ?? '127.0.0.1:50051',
    domain: env.WRENN_DOMAIN ?? `localhost:${portOf(env.WRENN_LISTEN ?? DEFAULT_LISTEN)}`,
    slots: env.WRENN_SLOTS ?? DEV_SLOTS,
    ...(await keptSettings(dir)),
  };
}

/** Made at the first start and kept beside the data they belong to. */
async function keptSettings(dir: string): Promise<Kept> {
  const file = join(dir, 'stack.json');
  if (existsSync(file)) return JSON.parse(readFileSync(file, 'utf8')) as Kept;
  const kept: Kept = {
    postgresPort: await freePort(),
    redisPort: await freePort(),
    jwtSecret: randomBytes(32).toString('base64url'),
  };
  mkdirSync(dir, { recursive: true });
  writeFileSync(file, `${JSON.stringify(kept, null, 2)}\n`, { mode: 0o600 });
  return kept;
}

/** Browsers and curl find every name below `localhost` on this machine. */
function portOf(listen: string): string {
  return listen.slice(listen.lastIndexOf(':') + 1);
}

/** Base URL of the control plane; a wildcard address is reached by loopback. */
export function apiUrl(settings: StackSettings): string {
  return `http://${settings.listen.replace(/^(0\.0\.0\.0|\[::\])/, '127.0.0.1')}`;
}

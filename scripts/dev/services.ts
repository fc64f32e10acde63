import { existsSync, mkdirSync } from 'node:fs';
import { join } from 'node:path';
import { CHECKOUT } from '../lib/checkout.ts';
import { readPidFile, startDaemon } from '../lib/daemon.ts';
import { isAlive, type ProcessRecord } from '../lib/process-record.ts';
import { ensureDatabase, readPassword, startPostgres } from './postgres.ts';
import { startRedis } from './redis.ts';
import { apiUrl, type StackSettings } from './settings.ts';

/** The programs of a stack, in the order in which they start. */
export const SERVICES = ['postgres', 'redis', 'control-plane', 'agent'] as const;
export type ServiceName = (typeof SERVICES)[number];

/** Booting a machine under load may take long; a program that cannot start ends by itself, and that is seen at once. */
const READY_TIMEOUT_MS = 60_000;

/** The live process of a service that this stack started, also by an earlier `make up`. */
export function runningService(settings: StackSettings, name: ServiceName): ProcessRecord | undefined {
  const record = readPidFile(pidFile(settings, name));
  return record && isAlive(record) ? record : undefined;
}

/** Starts a service and resolves once it serves; does nothing when it runs. @returns whether it was started. */
export async function startService(settings: StackSettings, name: ServiceName, args: string[] = []): Promise<boolean> {
  if (runningService(settings, name)) return false;
  for (const folder of ['run', 'log']) mkdirSync(join(settings.dir, folder), { recursive: true });
  switch (name) {
    case 'postgres':
      await ensureDatabase(
        await startPostgres({ dir: join(settings.dir, name), port: settings.postgresPort, ...files(settings, name) }),
        DATABASE,
      );
      break;
    case 'redis':
      await startRedis({ dir: join(settings.dir, name), port: settings.redisPort, ...files(settings, name) });
      break;
    case 'control-plane':
      await startProgram(settings, name, 'gateway/src/main.ts', args, apiUrl(settings), controlPlaneEnv(settings));
      break;
    case 'agent':
      await startProgram(
        settings,
        name,
        'agent/src/main.ts',
        args,
        `http://${settings.agentListen}`,
        agentEnv(settings),
      );
      break;
  }
  return true;
}

/** True once the agent has been registered: it keeps its credentials in its root folder (H1). */
export function isRegistered(settings: StackSettings): boolean {
  return existsSync(join(settings.wrennDir, 'host-credentials.json'));
}

export function pidFile(settings: StackSettings, name: ServiceName): string {
  return join(settings.dir, 'run', `${name}.json`);
}

export function logFile(settings: StackSettings, name: ServiceName): string {
  return join(settings.dir, 'log', `${name}.log`);
}

const DATABASE = 'wrenn';

function files(settings: StackSettings, name: ServiceName) {
  return { logFile: logFile(settings, name), pidFile: pidFile(settings, name) };
}

/** Settings of the agent alone: the control plane would warn of them. */
const AGENT_ONLY =
  /^(WRENN_(AGENT_LISTEN|CP_URL|DIR|SLOTS|SLOT_POOL|VMM|VMM_POOL|WARM_POOL|HOST_\w+)|AGENT_FILES_ROOTDIR)$/;
/** The other way round. */
const CONTROL_PLANE_ONLY =
  /^(WRENN_(LISTEN|DATABASE_URL|REDIS_URL|DOMAIN|TLS_\w+|PROXY_MAX_OPEN|REPLICA_ADDRESS)|JWT_SECRET)$/;

function inherited(except: RegExp): NodeJS.ProcessEnv {
  return Object.fromEntries(Object.entries(process.env).filter(([name]) => !except.test(name)));
}

/** The programs take their settings from the environment first: what the caller set stays set. */
export function controlPlaneEnv(settings: StackSettings): NodeJS.ProcessEnv {
  const password = readPassword(join(settings.dir, 'postgres'));
  return {
    CP_PUBLIC_URL: apiUrl(settings),
    JWT_SECRET: settings.jwtSecret,
    UWS_HTTP_MAX_HEADERS_SIZE: '16384',
    ...inherited(AGENT_ONLY),
    WRENN_LISTEN: settings.listen,
    WRENN_DOMAIN: settings.domain,
    WRENN_DATABASE_URL: `postgres://wrenn:${password}@127.0.0.1:${settings.postgresPort}/${DATABASE}`,
    WRENN_REDIS_URL: `redis://127.0.0.1:${settings.redisPort}/0`,
  };
}

export function agentEnv(settings: StackSettings): NodeJS.ProcessEnv {
  return {
    ...inherited(CONTROL_PLANE_ONLY),
    WRENN_DIR: settings.wrennDir,
    WRENN_AGENT_LISTEN: settings.agentListen,
    WRENN_SLOTS: settings.slots,
    WRENN_CP_URL: apiUrl(settings),
  };
}

async function startProgram(
  settings: StackSettings,
  name: ServiceName,
  script: string,
  args: string[],
  url: string,
  env: NodeJS.ProcessEnv,
): Promise<void> {
  await startDaemon({
    name,
    argv: [process.execPath, join(CHECKOUT, script), ...args],
    cwd: CHECKOUT,
    env,
    ...files(settings, name),
    readyTimeoutMs: READY_TIMEOUT_MS,
    ready: async (signal) => (await fetch(`${url}/health`, { signal })).ok,
  });
}

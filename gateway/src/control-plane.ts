import { hostDefinition, sandboxDefinition, snapshotDefinition } from '@wrenn/actors';
import { createPostgresRuntime, type Logger, migrate, type PostgresRuntime, ProcessMetrics } from '@wrenn/core';
import { AgentDirectory } from './agents/agent-directory.ts';
import { FleetLink } from './agents/fleet-link.ts';
import { VmFeed } from './agents/vm-feed.ts';
import { createApp } from './app.ts';
import { Closers } from './closers.ts';
import type { Config } from './config.ts';
import { effectHandlers } from './effects/handlers.ts';
import { Heartbeats } from './hosts/heartbeats.ts';
import { RegistrationTokens } from './hosts/registration-tokens.ts';
import { KeyUsage } from './identity/key-usage.ts';
import { LoginLimits } from './identity/login-limits.ts';
import { Tokens } from './identity/tokens.ts';
import { rememberMachines } from './inspector/machines.ts';
import { Revisions } from './inspector/revisions.ts';
import { StateCounts } from './inspector/state-counts.ts';
import { Viewers } from './inspector/viewers.ts';
import { parseListenAddress } from './listen-address.ts';
import { teamSampler } from './metrics/team-sampler.ts';
import { createRedis, pokesOver } from './redis-client.ts';
import { egressKeeper } from './sandboxes/egress-keeper.ts';
import { SandboxRoutes } from './sandboxes/sandbox-routes.ts';
import { RoundRobinScheduler } from './scheduler/round-robin.ts';
import type { Services } from './services.ts';
import { createSqlPool } from './sql-pool.ts';

/** Requests in flight have so long to end when the program stops. */
const STOP_GRACE_MS = 10_000;

export interface ControlPlane {
  readonly port: number;
  /** Null: no TLS port was asked for. */
  readonly tlsPort: number | null;
  readonly services: Services;
  /** Lets requests end, hands its actors to other replicas, closes everything. */
  stop(): Promise<void>;
}

/**
 * One replica of the control plane: migrates, listens (`/health` says 503), takes control of its actors (200).
 * What was opened is closed again when a later step fails.
 */
export async function startControlPlane(config: Config, log: Logger): Promise<ControlPlane> {
  const opened = new Closers();
  try {
    return await open(config, log, opened);
  } catch (error) {
    await opened.close().catch((err) => log.warn({ err }, 'not everything could be closed'));
    throw error;
  }
}

async function open(config: Config, log: Logger, opened: Closers): Promise<ControlPlane> {
  await migrate(config.WRENN_DATABASE_URL);
  const sql = opened.adopt(createSqlPool(config.WRENN_DATABASE_URL, log), (pool) => pool.end());
  const redis = opened.adopt(createRedis(config.WRENN_REDIS_URL, log), (client) => client.disconnect());
  const agents = opened.adopt(new AgentDirectory(sql), (directory) => directory.close());
  const keyUsage = opened.adopt(new KeyUsage(sql, log), (usage) => usage.close());
  const vmFeed = opened.adopt(new VmFeed(redis, config.WRENN_DATABASE_URL, log), (feed) => feed.close());
  const scheduler = new RoundRobinScheduler(sql);
  const runtime: PostgresRuntime = createPostgresRuntime({
    connection: config.WRENN_DATABASE_URL,
    definitions: [sandboxDefinition, snapshotDefinition, hostDefinition],
    handlers: effectHandlers({
      ...{ sql, log, agents, scheduler, runtime: () => runtime },
      orphanGraceMs: config.WRENN_ORPHAN_GRACE_SEC * 1_000,
    }),
    redis: pokesOver(redis, config.WRENN_REDIS_URL),
    log,
    ...(config.WRENN_REPLICA_ADDRESS !== undefined && { address: config.WRENN_REPLICA_ADDRESS }),
  });
  const services: Services = {
    config,
    log,
    sql,
    redis,
    runtime,
    tokens: new Tokens(config.JWT_SECRET),
    keyUsage,
    loginLimits: new LoginLimits(redis),
    registrationTokens: new RegistrationTokens(redis),
    heartbeats: new Heartbeats(),
    readiness: { inControl: false },
    agents,
    vmFeed,
    revisions: new Revisions(),
    stateCounts: new StateCounts({ runtime, sql }),
    viewers: new Viewers(),
    processMetrics: opened.adopt(new ProcessMetrics(), (metrics) => metrics.close()),
    sandboxRoutes: new SandboxRoutes(sql),
  };
  const app = createApp(services);
  const { address, port: wanted } = parseListenAddress(config.WRENN_LISTEN);
  const port = await app.listen(address, wanted);
  const tlsPort = await listenTls(app, config);
  opened.defer(() => runtime.stop());
  opened.defer(() => app.stop(STOP_GRACE_MS));
  await rememberMachines(sql);
  await runtime.start();
  const fleet = new FleetLink(services);
  fleet.start();
  opened.defer(() => fleet.stop());
  const sampler = teamSampler(sql, log);
  sampler.start();
  opened.defer(() => sampler.stop());
  const egress = egressKeeper(services, log);
  egress.start();
  opened.defer(() => egress.stop());
  services.readiness.inControl = true;
  opened.defer(() => {
    services.readiness.inControl = false;
  });
  warnOfPlainHttp(log);
  return { port, tlsPort, services, stop: () => opened.close() };
}

/** PX5; null where no TLS port is asked for. */
async function listenTls(
  app: ReturnType<typeof createApp>,
  { WRENN_TLS_LISTEN, WRENN_TLS_CERT, WRENN_TLS_KEY }: Config,
): Promise<number | null> {
  if (WRENN_TLS_LISTEN === undefined) return null;
  if (WRENN_TLS_CERT === undefined || WRENN_TLS_KEY === undefined) {
    throw new Error('WRENN_TLS_LISTEN needs WRENN_TLS_CERT and WRENN_TLS_KEY');
  }
  const { address, port } = parseListenAddress(WRENN_TLS_LISTEN);
  return app.listenTls(address, port, { certificate: WRENN_TLS_CERT, key: WRENN_TLS_KEY });
}

/** H3: without a certificate authority agents and control plane talk plain HTTP, which is for development only. */
function warnOfPlainHttp(log: Logger): void {
  log.warn('NO CERTIFICATE AUTHORITY: hosts and control plane talk PLAIN HTTP. Do not use this beyond one machine.');
}

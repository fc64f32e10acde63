import type { Logger, PostgresRuntime, ProcessMetrics } from '@wrenn/core';
import type { Redis } from 'ioredis';
import type { Pool } from 'pg';
import type { AgentDirectory } from './agents/agent-directory.ts';
import type { VmFeed } from './agents/vm-feed.ts';
import type { Config } from './config.ts';
import type { Heartbeats } from './hosts/heartbeats.ts';
import type { RegistrationTokens } from './hosts/registration-tokens.ts';
import type { KeyUsage } from './identity/key-usage.ts';
import type { LoginLimits } from './identity/login-limits.ts';
import type { Tokens } from './identity/tokens.ts';
import type { Revisions } from './inspector/revisions.ts';
import type { StateCounts } from './inspector/state-counts.ts';
import type { Viewers } from './inspector/viewers.ts';
import type { SandboxRoutes } from './sandboxes/sandbox-routes.ts';

/** What routes and effect handlers work with. Made and closed by `control-plane.ts`. */
export interface Services {
  readonly config: Config;
  readonly log: Logger;
  /** For queries of the API; commits of actors have connections of their own. */
  readonly sql: Pool;
  /** May be away: nothing here may fail for good without it. */
  readonly redis: Redis;
  readonly runtime: PostgresRuntime;
  readonly tokens: Tokens;
  readonly keyUsage: KeyUsage;
  readonly loginLimits: LoginLimits;
  readonly registrationTokens: RegistrationTokens;
  readonly heartbeats: Heartbeats;
  readonly readiness: Readiness;
  /** Connections to the hosts' agents. */
  readonly agents: AgentDirectory;
  /** Live entries of the hosts' `vm` actors. */
  readonly vmFeed: VmFeed;
  /** Past contexts of actors. */
  readonly revisions: Revisions;
  readonly viewers: Viewers;
  /** What this program itself uses. */
  readonly processMetrics: ProcessMetrics;
  /** Counts per state, shared by all viewers. */
  readonly stateCounts: StateCounts;
  /** Where sandboxes run, for the data path. */
  readonly sandboxRoutes: SandboxRoutes;
}

/** Whether the runtime is in control of its actors: before that, and while stopping, `/health` says 503. */
export interface Readiness {
  inControl: boolean;
}

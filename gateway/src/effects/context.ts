import type { PostgresRuntime } from '@wrenn/core';
import type { Pool } from 'pg';
import type { Logger } from 'pino';
import type { AgentDirectory } from '../agents/agent-directory.ts';
import type { Scheduler } from '../scheduler/scheduler.ts';

/** What effect handlers of the control plane work with. */
export interface EffectContext {
  readonly sql: Pool;
  readonly log: Logger;
  readonly agents: AgentDirectory;
  readonly scheduler: Scheduler;
  /** How long a VM that no sandbox owns is let be (H4). */
  readonly orphanGraceMs: number;
  /** The runtime is made with the handlers, so it is there only once they run. */
  readonly runtime: () => PostgresRuntime;
}

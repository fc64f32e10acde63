import { setTimeout as sleep } from 'node:timers/promises';
import { WrennError } from '@wrenn/core';
import type { SandboxRoute } from '../sandboxes/sandbox-routes.ts';
import { wakeSandbox } from '../sandboxes/wake-sandbox.ts';
import type { Services } from '../services.ts';
import { failures } from './failure.ts';

/** A sandbox that is just being paused is waited for, as long as a pause may take, looked at in this step. */
const PAUSING_LIMIT_MS = 30_000;
const LOOK_MS = 50;
/** What traffic gives a sandbox of E2B's surface to live: the default of its `connect`. */
const E2B_LIFE_MS = 300_000;

/**
 * The route once the sandbox runs, where it is paused and may be resumed by traffic (PX3): many requests, one resume. Any
 * other route as it is. Throws a `ProxyFailure` where the resume fails.
 */
export async function awake(services: Services, route: SandboxRoute): Promise<SandboxRoute> {
  if (!route.autoResume) return route;
  let now = route;
  const until = performance.now() + PAUSING_LIMIT_MS;
  while (now.status === 'pausing' && performance.now() < until) {
    await sleep(LOOK_MS);
    now = (await services.sandboxRoutes.reload(route.sandboxId)) ?? now;
  }
  if (now.status !== 'paused' && now.status !== 'resuming') return now;
  try {
    await wakeSandbox(services, now.sandboxId, now.e2b ? { ends_at: Date.now() + E2B_LIFE_MS } : {});
  } catch (error) {
    if (error instanceof WrennError) throw failures.resumeFailed(now.sandboxId, error);
    throw error;
  }
  return (await services.sandboxRoutes.reload(now.sandboxId)) ?? now;
}

import { WrennError } from '@wrenn/core';
import type { SandboxRoute } from '../sandboxes/sandbox-routes.ts';
import { wakeSandbox } from '../sandboxes/wake-sandbox.ts';
import type { Services } from '../services.ts';
import { failures } from './failure.ts';

/** Statuses from which a RESUME that joins leads to a running sandbox. */
const ASLEEP: ReadonlySet<SandboxRoute['status']> = new Set(['pausing', 'paused', 'resuming']);
/** What traffic gives a sandbox of E2B's surface to live: the default of its `connect`. */
const E2B_LIFE_MS = 300_000;

/**
 * The route once the sandbox runs, where it is paused or on its way there and may be resumed by traffic (PX3): many
 * requests, one resume. Any other route as it is. Throws a `ProxyFailure` where the resume fails.
 */
export async function awake(services: Services, route: SandboxRoute): Promise<SandboxRoute> {
  if (!route.autoResume) return route;
  if (!ASLEEP.has(route.status)) return route;
  try {
    await wakeSandbox(services, route.sandboxId, route.e2b ? { ends_at: Date.now() + E2B_LIFE_MS } : {});
  } catch (error) {
    if (error instanceof WrennError) throw failures.resumeFailed(route.sandboxId, error);
    throw error;
  }
  return (await services.sandboxRoutes.reload(route.sandboxId)) ?? route;
}

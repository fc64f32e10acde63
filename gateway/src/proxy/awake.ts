import { WrennError } from '@wrenn/core';
import type { SandboxRoute } from '../sandboxes/sandbox-routes.ts';
import { awakened } from '../sandboxes/wake-sandbox.ts';
import type { Services } from '../services.ts';
import { failures } from './failure.ts';

/** As `awakened`; throws a `ProxyFailure` where the resume fails. */
export async function awake(services: Services, route: SandboxRoute): Promise<SandboxRoute> {
  try {
    return await awakened(services, route);
  } catch (error) {
    if (error instanceof WrennError) throw failures.resumeFailed(route.sandboxId, error);
    throw error;
  }
}

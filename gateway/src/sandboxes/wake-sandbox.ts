import type { SandboxResume } from '@wrenn/actors';
import type { Cause } from '@wrenn/core';
import type { Services } from '../services.ts';
import { answered } from './sandbox-commands.ts';
import type { SandboxRoute } from './sandbox-routes.ts';

/** Wakings under way in this replica. Over all replicas the sandbox's actor joins them (`join`). */
const waking = new WeakMap<Services, Map<string, Promise<void>>>();

const BY_TRAFFIC: Cause = { type: 'system', name: 'traffic' };

/** What a waking may change, as SandboxResume says. */
export type WakeOptions = Pick<SandboxResume, 'ends_at' | 'timeout_sec'> & {
  /** Default: traffic, which nobody in particular has sent. */
  readonly cause?: Cause;
};

/**
 * Resolves when the sandbox runs: at once if it does, else when it is resumed, by this call or by one that came before.
 * For traffic to sandboxes with `auto_resume` (PX3), and for clients who connect to a paused one. Whether the caller may
 * do it was checked before. Throws as RESUME is refused (409 in other states) or fails.
 */
export function wakeSandbox(services: Services, sandboxId: string, options: WakeOptions = {}): Promise<void> {
  const { cause = BY_TRAFFIC, ...changes } = options;
  const own = waking.get(services) ?? new Map<string, Promise<void>>();
  waking.set(services, own);
  const shared = cause === BY_TRAFFIC ? own.get(sandboxId) : undefined;
  if (shared) return shared;
  const event: SandboxResume = { type: 'RESUME', join: true, ...changes };
  const woken = services.runtime.ask({ kind: 'sandbox', id: sandboxId }, event, { cause }).then((answer) => {
    answered(answer);
  });
  if (cause !== BY_TRAFFIC) return woken;
  own.set(sandboxId, woken);
  return woken.finally(() => own.delete(sandboxId));
}

/** Statuses from which a RESUME that joins leads to a running sandbox. */
const ASLEEP: ReadonlySet<SandboxRoute['status']> = new Set(['pausing', 'paused', 'resuming']);
/** What traffic gives a sandbox of E2B's surface to live: the default of its `connect`. */
const E2B_LIFE_MS = 300_000;

/**
 * The route once the sandbox runs, where it is paused or on its way there and may be resumed by traffic (PX3): many
 * requests, one resume. Any other route as it is. Throws where the resume is refused or fails.
 */
export async function awakened(services: Services, route: SandboxRoute): Promise<SandboxRoute> {
  if (!route.autoResume || !ASLEEP.has(route.status)) return route;
  await wakeSandbox(services, route.sandboxId, route.e2b ? { ends_at: Date.now() + E2B_LIFE_MS } : {});
  return (await services.sandboxRoutes.reload(route.sandboxId)) ?? route;
}

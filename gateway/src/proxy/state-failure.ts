import type { SandboxStatus } from '@wrenn/actors';
import type { SandboxRoute } from '../sandboxes/sandbox-routes.ts';
import type { Services } from '../services.ts';
import { failures, type ProxyFailure } from './failure.ts';

/** States that end by themselves, soon. */
const PASSING: ReadonlySet<SandboxStatus> = new Set(['pending', 'starting', 'pausing', 'resuming']);

/** Why a sandbox that does not run cannot be reached: the state, since when, what is legal now (PX3). */
export async function stateFailure({ runtime }: Services, route: SandboxRoute): Promise<ProxyFailure> {
  const { sandboxId } = route;
  const view = await runtime.read({ kind: 'sandbox', id: sandboxId });
  if (!view || route.status === 'stopped') return failures.unknown(sandboxId);
  const state = view.path.split(/[.+]/, 1)[0] as SandboxStatus;
  const legal = runtime.legalCommands(view).flatMap((command) => (command.legal ? [command.type] : []));
  const details = {
    state,
    since: new Date(view.since).toISOString(),
    sandbox_id: sandboxId,
    legal_commands: legal,
  };
  if (state === 'missing') return failures.hostAway(sandboxId);
  if (state === 'running') return failures.inTransition(sandboxId, details, 'The sandbox has just been started anew.');
  const message = `The sandbox is ${state}.`;
  return PASSING.has(state)
    ? failures.inTransition(sandboxId, details, message)
    : failures.notRunning(sandboxId, details, message);
}

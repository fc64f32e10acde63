import type { CheckedCommand } from './command.ts';
import type { ServiceContext } from './context.ts';
import { failure } from './failure.ts';

/** A command of an owner that another has followed. */
export function refuseStale(context: ServiceContext, { sandboxId, epoch }: CheckedCommand): void {
  if (!context.incarnations.isStale(sandboxId, epoch)) return;
  throw failure('stale_epoch', `epoch ${epoch} is older than one that was seen`);
}

/** SN7: the control plane's timer may be behind what happened here. */
export function refuseIfActive(context: ServiceContext, sandboxId: string, ifIdleMs: number): void {
  const idleMs = context.activity.idleMs(sandboxId);
  if (idleMs === undefined || idleMs >= ifIdleMs) return;
  const headers = { 'wrenn-idle-ms': `${Math.floor(idleMs)}` };
  throw failure('active', `the sandbox was active ${Math.floor(idleMs)} ms ago`, { headers });
}

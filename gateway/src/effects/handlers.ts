import type { HostEffects, SandboxEffects, SnapshotEffects } from '@wrenn/actors';
import type { EffectHandler } from '@wrenn/core';
import { branchVm, deleteSnapshot } from './branch-vm.ts';
import type { EffectContext } from './context.ts';
import { createVm } from './create-vm.ts';
import { checkIdle, destroyVm } from './destroy-vm.ts';
import { evict, hostLost, inventory } from './host-effects.ts';
import { inspectVm } from './inspect-vm.ts';
import { pauseVm } from './pause-vm.ts';
import { place } from './place.ts';
import { resumeVm } from './resume-vm.ts';

/** Every effect that the machines of the control plane name, and who does it. */
export function effectHandlers(
  context: EffectContext,
): Record<keyof (SandboxEffects & SnapshotEffects & HostEffects), EffectHandler> {
  return {
    'sandbox.place': place(context),
    'vm.create': createVm(context),
    'vm.inspect': inspectVm(context),
    'vm.idle_check': checkIdle(context),
    'vm.pause': pauseVm(context),
    'vm.inspect_pause': inspectVm(context),
    'sandbox.reserve': place(context),
    'vm.resume': resumeVm(context),
    'vm.inspect_resume': inspectVm(context),
    'vm.snapshot': branchVm(context),
    'vm.fork': branchVm(context),
    'vm.snapshot_paused': branchVm(context),
    'vm.fork_paused': branchVm(context),
    'vm.destroy': destroyVm(context),
    'snapshot.delete': deleteSnapshot(context),
    'host.lost': hostLost(context),
    'host.inventory': inventory(context),
    'host.evict': evict(context),
  };
}

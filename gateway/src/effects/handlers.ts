import type { HostEffects, SandboxEffects } from '@wrenn/actors';
import type { EffectHandler } from '@wrenn/core';
import type { EffectContext } from './context.ts';
import { createVm } from './create-vm.ts';
import { checkIdle, destroyVm } from './destroy-vm.ts';
import { evict, hostLost, inventory } from './host-effects.ts';
import { inspectVm } from './inspect-vm.ts';
import { place } from './place.ts';

/** Every effect that the machines of the control plane name, and who does it. */
export function effectHandlers(context: EffectContext): Record<keyof (SandboxEffects & HostEffects), EffectHandler> {
  return {
    'sandbox.place': place(context),
    'vm.create': createVm(context),
    'vm.inspect': inspectVm(context),
    'vm.idle_check': checkIdle(context),
    'vm.destroy': destroyVm(context),
    'host.lost': hostLost(context),
    'host.inventory': inventory(context),
    'host.evict': evict(context),
  };
}

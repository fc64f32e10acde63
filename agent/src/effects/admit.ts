import type { VmAdmitted } from '@wrenn/actors';
import type { EffectContext } from './context.ts';

/** `vm.admit`: waits for a free place among the cold boots. */
export async function admit(context: EffectContext, vmId: string, signal: AbortSignal): Promise<VmAdmitted> {
  await context.gate.pass(signal);
  await context.times.measure(vmId, 'queued', () => context.admission.enter(vmId, signal));
  return { type: 'ADMITTED' };
}

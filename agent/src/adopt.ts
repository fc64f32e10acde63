import { type Adopted, type Interrupted, type VmContext, type VmmExited, vmStatus } from '@wrenn/actors';
import type { ActorView } from '@wrenn/core';
import type { EffectContext } from './effects/context.ts';
import { watchVmm } from './effects/watch-vmm.ts';
import { consoleTail } from './guest/console.ts';

/**
 * VM3: compares each VM that the journal holds for live with reality, and tells its actor what makes them agree. Steps
 * that were in flight need nothing: their effects run again, and find what they had made.
 */
export async function adoptVms(
  context: EffectContext,
  views: readonly ActorView<VmContext>[],
  signal: AbortSignal,
): Promise<void> {
  for (const view of views) {
    if (vmStatus(view) === 'ready' && view.path !== 'parked') await adopt(context, view, signal);
  }
}

/** A pause or branch in one of these is rolled back: what was in the memory of the earlier agent is gone. */
const INTERRUPTED: ReadonlySet<string> = new Set(['quiescing', 'saving', 'branching']);
const top = (path: string): string => path.split('.', 1)[0] ?? '';

async function adopt(context: EffectContext, view: ActorView<VmContext>, signal: AbortSignal): Promise<void> {
  const { id } = view;
  const { vmm, slot, spec, sandbox_id, incarnation } = view.context;
  if (vmm === null || slot === null || spec === null)
    throw new Error(`${id} is ready without ${vmm ? 'a slot' : 'a VMM'}`);
  const process = { pid: vmm.pid, startTime: vmm.start_time };
  const files = context.files.sandbox(id);
  const status = await context.vmm.adopt(process, files, signal);
  const log = context.log.child({ vm: id, vmm_pid: vmm.pid });
  const tell = (event: VmmExited | Adopted | Interrupted) =>
    context.runtime().tell({ kind: 'vm', id }, event, { cause: { type: 'system', name: 'adoption' } });

  if (status === 'gone') {
    log.warn('the VMM ended while no agent was running');
    await tell({ type: 'VMM_EXITED', code: null, signal: null, console_tail: await consoleTail(files.console) });
    return;
  }
  const isInterrupted = INTERRUPTED.has(top(view.path));
  if (status === 'running' || isInterrupted) log.info({ state: view.path }, 'adopted');
  else log.warn({ status }, 'adopted, but the VMM does not run its guest');
  const { host_ip: hostIp } = slot;
  const vm = context.vms.add({
    vmId: id,
    sandboxId: sandbox_id,
    incarnation,
    hostIp,
    accessToken: spec.access_token,
    process,
  });
  // Also while a branch is published its guest runs.
  const isRunning = view.path === 'ready' || (view.path === 'publishing' && view.context.branch !== null);
  if (isRunning) context.vms.open(vm);
  watchVmm(context, id, process);
  await tell({ type: isInterrupted ? 'INTERRUPTED' : 'ADOPTED' });
}

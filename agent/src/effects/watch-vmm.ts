import { constants } from 'node:os';
import type { VmmExited } from '@wrenn/actors';
import { consoleTail } from '../guest/console.ts';
import type { VmmExit, VmmProcess } from '../vmm/vmm.ts';
import type { EffectContext } from './context.ts';

const SIGNAL_NAMES = new Map(Object.entries(constants.signals).map(([name, number]) => [number, name]));

/**
 * Tells the VM's actor when its VMM ends. Begun only once the actor knows the process: it would not expect the end of
 * one that it has not heard of.
 */
export function watchVmm(context: EffectContext, vmId: string, process: VmmProcess): void {
  context.vmm.watch(process, (exit) => {
    report(context, vmId, exit, process).catch((error) => {
      context.log.error({ err: error, vm: vmId }, 'the end of a VMM could not be reported');
    });
  });
}

async function report(context: EffectContext, vmId: string, exit: VmmExit, process: VmmProcess): Promise<void> {
  const files = context.files.sandbox(vmId);
  const [tail, words] = await Promise.all([consoleTail(files.console), consoleTail(files.log)]);
  context.log.warn({ vm: vmId, vmm_pid: process.pid, ...exit, vmm_log: words }, 'a VMM ended');
  context.vms.remove(vmId);
  context.admission.leave(vmId);
  const event: VmmExited = {
    type: 'VMM_EXITED',
    code: exit.code,
    signal: exit.signal === null ? null : (SIGNAL_NAMES.get(exit.signal) ?? `${exit.signal}`),
    console_tail: tail,
  };
  await context.runtime().tell({ kind: 'vm', id: vmId }, event, {
    messageId: `exit:${vmId}:${process.pid}:${process.startTime}`,
    cause: { type: 'system', name: 'vmm' },
  });
}

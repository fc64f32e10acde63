import type { AwaitGuestInput, GuestReady } from '@wrenn/actors';
import { untilListening } from '../guest/readiness.ts';
import type { EffectContext } from './context.ts';
import { watchVmm } from './watch-vmm.ts';

/** `vm.await_guest`: until envd is there and knows who it is (VM6). */
export async function awaitGuest(
  context: EffectContext,
  vmId: string,
  input: AwaitGuestInput,
  signal: AbortSignal,
): Promise<GuestReady> {
  const { spec, slot, vmm } = input;
  context.admission.readmit(vmId);
  watchVmm(context, vmId, { pid: vmm.pid, startTime: vmm.start_time });
  const vm = context.vms.add({
    vmId,
    sandboxId: input.sandbox_id,
    incarnation: input.incarnation,
    hostIp: slot.host_ip,
    accessToken: spec.access_token,
    process: { pid: vmm.pid, startTime: vmm.start_time },
  });
  const console = context.files.sandbox(vmId).console;
  await context.times.measure(vmId, 'boot', () => untilListening(slot.host_ip, console, signal));
  const identity = {
    accessToken: spec.access_token,
    envs: spec.envs,
    defaultUser: spec.default_user,
    hostname: spec.hostname,
  };
  await context.times.measure(vmId, 'init', () => vm.guest.init(identity, new Date(), signal));
  context.vms.open(vm);
  context.admission.leave(vmId);
  const timings = context.times.take(vmId);
  context.log.info({ vm: vmId, host_ip: slot.host_ip, vmm_pid: vmm.pid, timings_ms: timings }, 'a guest is ready');
  return { type: 'GUEST_READY', timings_ms: timings };
}

import type { AwaitGuestInput, GuestReady } from '@wrenn/actors';
import { untilListening, untilServing } from '../guest/readiness.ts';
import { Images } from '../rootfs/images.ts';
import type { EffectContext } from './context.ts';
import { liveVm } from './live-vm.ts';
import { rehearseTemplate } from './rehearse.ts';
import { watchVmm } from './watch-vmm.ts';

/** `vm.await_guest`: until envd is there and knows who it is (VM6). */
export async function awaitGuest(
  context: EffectContext,
  vmId: string,
  input: AwaitGuestInput,
  signal: AbortSignal,
): Promise<GuestReady> {
  const { spec, slot, purpose } = input;
  context.admission.readmit(vmId);
  const vm = liveVm(context, vmId, input);
  watchVmm(context, vmId, vm.process);
  const console = context.files.sandbox(vmId).console;
  await context.times.measure(vmId, 'boot', () => untilListening(slot.host_ip, console, signal));
  const port = await new Images(context.files.images).readyPort(spec.template);
  if (port !== null) await context.times.measure(vmId, 'services', () => untilServing(slot.host_ip, port, signal));
  const identity = {
    accessToken: spec.access_token,
    envs: spec.envs,
    defaultUser: spec.default_user,
    hostname: spec.hostname,
  };
  // The guest of a template is nobody until it is cloned.
  if (purpose === 'boot') await context.times.measure(vmId, 'rehearsal', () => rehearseTemplate(vm.guest, signal));
  else {
    await context.times.measure(vmId, 'init', () => vm.guest.init(identity, new Date(), signal));
    context.vms.open(vm);
  }
  context.admission.leave(vmId);
  const timings = context.times.take(vmId);
  context.log.info(
    { vm: vmId, host_ip: slot.host_ip, vmm_pid: vm.process.pid, timings_ms: timings },
    'a guest is ready',
  );
  return { type: 'GUEST_READY', timings_ms: timings };
}

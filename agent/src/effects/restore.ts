import { randomBytes } from 'node:crypto';
import type { GuestReady, RestoreInput } from '@wrenn/actors';
import { AgentError } from '../errors.ts';
import { GuestError } from '../guest/guest-error.ts';
import type { LiveVm } from '../live-vms.ts';
import { chainOf } from '../snapshots/frozen.ts';
import { readLineage } from '../snapshots/manifest.ts';
import type { Measure, VmmStatus } from '../vmm/vmm.ts';
import type { EffectContext } from './context.ts';
import { liveVm } from './live-vm.ts';
import { rehearse } from './rehearse.ts';
import { watchVmm } from './watch-vmm.ts';

const ENTROPY_BYTES = 64;
/** An emulator that has just been restored has nothing translated yet: its first answers are slow. */
const GUEST_PATIENCE_MS = 30_000;

/**
 * `vm.restore`: memory, then devices, then the guest becomes who it is to be before its processes run on (SN11: a guest
 * that cannot is ended). A warm VM rehearses that and is stopped again; one that was taken over goes on from there.
 */
export async function restore(
  context: EffectContext,
  vmId: string,
  input: RestoreInput,
  signal: AbortSignal,
): Promise<GuestReady> {
  const { times } = context;
  const files = context.files.sandbox(vmId);
  const vm = liveVm(context, vmId, input);
  watchVmm(context, vmId, vm.process);
  const lineage = await readLineage(files.lineage);
  const measure: Measure = (phase, work) => times.measure(vmId, phase, work);
  const vmm = { process: vm.process, files };
  const before = await context.vmm.resume(vmm, chainOf(files, lineage), measure, signal);
  const patience = AbortSignal.any([signal, AbortSignal.timeout(GUEST_PATIENCE_MS)]);
  if (input.purpose === 'warm') {
    await times.measure(vmId, 'rehearsal', () => rehearse(vm.guest, files, lineage, patience)).catch(lost);
    await context.vmm.stop(files, signal);
  } else {
    await times.measure(vmId, 'thaw', () => assume(vm, input, lineage.thaw_key ?? '', before, patience)).catch(lost);
    context.vms.open(vm);
  }
  const { firstTouches } = context.snapshots;
  if (before === 'waiting') firstTouches.begin(vmId, input.origin);
  if (input.purpose === 'warm') await firstTouches.end(vmId); // the rehearsal has run a command
  const timings = times.take(vmId);
  context.log.info(
    { vm: vmId, host_ip: vm.hostIp, vmm_pid: vm.process.pid, timings_ms: timings },
    'a guest is restored',
  );
  return { type: 'GUEST_READY', timings_ms: timings };
}

/** Who it is from now on. An attempt that was cut short may have told it already: then nothing is frozen any more. */
async function assume(
  vm: LiveVm,
  { spec, sandbox_id }: RestoreInput,
  thawKey: string,
  before: VmmStatus,
  signal: AbortSignal,
): Promise<void> {
  const identity = {
    sandboxId: sandbox_id,
    hostname: spec.hostname,
    accessToken: spec.access_token,
    envs: spec.envs,
    defaultUser: spec.default_user,
    entropy: randomBytes(ENTROPY_BYTES),
    now: new Date(),
  };
  try {
    await vm.guest.thaw(thawKey, identity, signal);
  } catch (error) {
    if (!(before === 'running' && error instanceof GuestError && error.status === 400)) throw error;
  }
}

function lost(cause: unknown): never {
  const words = cause instanceof GuestError ? cause.message : 'it does not answer';
  throw new AgentError('guest_error', `the restored guest did not become who it is to be: ${words}`, { cause });
}

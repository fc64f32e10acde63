import type { AdmitInput, VmAdmitted, VmOrigin } from '@wrenn/actors';
import { AgentError } from '../errors.ts';
import { vmIdOf } from '../incarnations.ts';
import type { EffectContext } from './context.ts';

/** `vm.admit`: finds what a start begins with, a template's waits for its boot snapshot; then it waits for a place. */
export async function admit(
  context: EffectContext,
  vmId: string,
  input: AdmitInput,
  signal: AbortSignal,
): Promise<VmAdmitted> {
  await context.gate.pass(signal);
  const { source, spec } = input;
  if (source.kind === 'kernel') {
    await context.times.measure(vmId, 'queued', () => context.admission.enter('boot', vmId, signal));
    return { type: 'ADMITTED', origin: null };
  }
  const origin = await context.times.measure(vmId, 'queued', async () => {
    const found = await find(context, input, signal);
    await context.admission.enter('restore', vmId, signal);
    return found;
  });
  const { vcpus, memory_mb, disk_size_mb } = await context.snapshots.check(origin);
  if (spec.vcpus !== vcpus || spec.memory_mb !== memory_mb || spec.disk_size_mb !== disk_size_mb) {
    const size = `${vcpus} vCPUs, ${memory_mb} MB of memory and ${disk_size_mb} MB of disk`;
    throw new AgentError('bad_request', `what starts from a snapshot has its size: ${size}`, { retryable: false });
  }
  return { type: 'ADMITTED', origin };
}

async function find(
  context: EffectContext,
  { source, spec, ...vm }: AdmitInput,
  signal: AbortSignal,
): Promise<VmOrigin> {
  switch (source.kind) {
    case 'paused':
      return { kind: 'paused', vm_id: vmIdOf(vm.sandbox_id, source.incarnation) };
    case 'snapshot':
      return { kind: 'snapshot', snapshot_id: source.snapshot_id };
    default:
      return { kind: 'snapshot', snapshot_id: await context.templates.ensure(spec, signal) };
  }
}

import { spawn } from 'node:child_process';
import { access, constants } from 'node:fs/promises';
import { join } from 'node:path';
import { baseArguments, kernelArguments, type QemuPlatform } from './qemu-arguments.ts';

/** A machine with working KVM shows the first line in about 0.3 s. */
const PROBE_TIMEOUT_MS = 4_000;
const PROBE_MEMORY_MB = 128;

export type KvmProbe = { readonly works: true } | { readonly works: false; readonly reason: string };

/**
 * Whether KVM runs our guests' kernel, found out by letting it (`/dev/kvm` can exist and run nothing): without a disk
 * the initrd says so on the console and ends the guest.
 */
export async function probeKvm(
  binary: string,
  kernels: string,
  platform: Omit<QemuPlatform, 'acceleration'>,
  signal: AbortSignal,
): Promise<KvmProbe> {
  try {
    await access('/dev/kvm', constants.R_OK | constants.W_OK);
  } catch (error) {
    return { works: false, reason: `/dev/kvm: ${(error as NodeJS.ErrnoException).code}` };
  }
  const kvm = { ...platform, acceleration: 'kvm' as const };
  const args = [
    ...baseArguments(kvm, PROBE_MEMORY_MB),
    ...['-object', `memory-backend-ram,id=ram,size=${PROBE_MEMORY_MB}M`],
    ...['-kernel', join(kernels, platform.kernel.image), '-initrd', join(kernels, platform.kernel.initrd)],
    ...['-append', kernelArguments('probe', kvm), '-serial', 'stdio'],
  ];
  const deadline = AbortSignal.any([signal, AbortSignal.timeout(PROBE_TIMEOUT_MS)]);
  const output = await new Promise<string>((resolve) => {
    const qemu = spawn(binary, args, {
      stdio: ['ignore', 'pipe', 'pipe'],
      env: {},
      signal: deadline,
      killSignal: 'SIGKILL',
    });
    let text = '';
    const collect = (chunk: Buffer) => {
      text = (text + chunk.toString('latin1')).slice(-4096);
      if (text.includes('wrenn-init:')) qemu.kill('SIGKILL');
    };
    qemu.stdout.on('data', collect);
    qemu.stderr.on('data', collect);
    qemu.on('error', () => {}).on('close', () => resolve(text));
  });
  signal.throwIfAborted();
  if (output.includes('wrenn-init:')) return { works: true };
  const words = output.trim().split('\n').at(-1);
  return { works: false, reason: words || `the guest's kernel showed no sign of life in ${PROBE_TIMEOUT_MS / 1000} s` };
}

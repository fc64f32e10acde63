import { spawn } from 'node:child_process';
import { access, constants, readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { performance } from 'node:perf_hooks';
import { baseArguments, kernelArguments, type QemuPlatform } from './qemu-arguments.ts';

/** A machine with working KVM shows the first line in about 0.3 s; a busy one under emulation takes 5 s. */
const PATIENCE_MS = { kvm: 4_000, tcg: 60_000 } as const;
/** A host that is itself emulated has a KVM that works, an order of magnitude slower. */
const EMULATED_HOST_PATIENCE_MS = 60_000;
const EMULATED_HOST = /^model name\s*: QEMU TCG/m;
export const PROBE_MEMORY_MB = 128;
/** Every line of the guest's init begins with it. */
const SIGN_OF_LIFE = 'wrenn-init:';

export type AccelerationProbe =
  | { readonly works: true; readonly milliseconds: number }
  | { readonly works: false; readonly reason: string };

/**
 * Whether our guests' kernel runs this way, found out by letting it (`/dev/kvm` can exist and run nothing): without a
 * disk the initrd says so on the console and ends the guest.
 */
export async function probeAcceleration(
  acceleration: 'kvm' | 'tcg',
  binary: string,
  kernels: string,
  platform: Omit<QemuPlatform, 'acceleration'>,
  signal: AbortSignal,
): Promise<AccelerationProbe> {
  if (acceleration === 'kvm') {
    try {
      await access('/dev/kvm', constants.R_OK | constants.W_OK);
    } catch (error) {
      return { works: false, reason: `/dev/kvm: ${(error as NodeJS.ErrnoException).code}` };
    }
  }
  const whole = { ...platform, acceleration };
  const args = [
    ...baseArguments(whole, PROBE_MEMORY_MB),
    ...['-object', `memory-backend-ram,id=ram,size=${PROBE_MEMORY_MB}M`],
    ...['-kernel', join(kernels, platform.kernel.image), '-initrd', join(kernels, platform.kernel.initrd)],
    ...['-append', kernelArguments('probe', whole), '-serial', 'stdio'],
  ];
  const started = performance.now();
  const output = await firstWords(binary, args, await patienceFor(acceleration, signal));
  signal.throwIfAborted();
  return judged(output, started);
}

/** What it printed says whether our guests' kernel ran. */
export function judged(output: string, started: number): AccelerationProbe {
  if (output.includes(SIGN_OF_LIFE)) return { works: true, milliseconds: performance.now() - started };
  const words = output.trim().split('\n').at(-1);
  return { works: false, reason: words || "the guest's kernel showed no sign of life" };
}

export async function patienceFor(acceleration: 'kvm' | 'tcg', signal: AbortSignal): Promise<AbortSignal> {
  const cpu = await readFile('/proc/cpuinfo', 'utf8');
  const patience = EMULATED_HOST.test(cpu) ? EMULATED_HOST_PATIENCE_MS : PATIENCE_MS[acceleration];
  return AbortSignal.any([signal, AbortSignal.timeout(patience)]);
}

/** What a VMM and its guest print, until the guest's init speaks, the VMM ends, or time is up. */
export function firstWords(binary: string, args: readonly string[], signal: AbortSignal): Promise<string> {
  return new Promise((resolve) => {
    const vmm = spawn(binary, args, { stdio: ['ignore', 'pipe', 'pipe'], env: {}, signal, killSignal: 'SIGKILL' });
    let text = '';
    const collect = (chunk: Buffer) => {
      text = (text + chunk.toString('latin1')).slice(-4096);
      if (text.includes(SIGN_OF_LIFE)) vmm.kill('SIGKILL');
    };
    vmm.stdout.on('data', collect);
    vmm.stderr.on('data', collect);
    vmm.on('error', () => {}).on('close', () => resolve(text));
  });
}

import { rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { performance } from 'node:perf_hooks';
import { type AccelerationProbe, firstWords, judged, PROBE_MEMORY_MB, patienceFor } from './probe-acceleration.ts';
import { kernelArguments, type QemuPlatform } from './qemu-arguments.ts';

/** Whether our guests' kernel runs in this Firecracker here, found out by letting it: as `probeAcceleration`. */
export async function probeFirecracker(
  binary: string,
  { root, kernels }: { readonly root: string; readonly kernels: string },
  platform: Omit<QemuPlatform, 'acceleration'>,
  signal: AbortSignal,
): Promise<AccelerationProbe> {
  const config = join(root, 'firecracker-probe.json');
  const machine = {
    'boot-source': {
      kernel_image_path: join(kernels, platform.kernel.image),
      initrd_path: join(kernels, platform.kernel.initrd),
      boot_args: kernelArguments('probe', { ...platform, acceleration: 'kvm' }),
    },
    drives: [],
    'machine-config': { vcpu_count: 1, mem_size_mib: PROBE_MEMORY_MB },
  };
  await writeFile(config, JSON.stringify(machine));
  try {
    const started = performance.now();
    const output = await firstWords(binary, ['--no-api', '--config-file', config], await patienceFor('kvm', signal));
    signal.throwIfAborted();
    return judged(output, started);
  } finally {
    await rm(config, { force: true });
  }
}

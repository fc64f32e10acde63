import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { createInterface } from 'node:readline';
import { tscKhz } from '@wrenn/addon';
import type { BoxSystem } from './root-image.ts';

export interface BoxOptions {
  readonly system: BoxSystem;
  /** Its second disk: holds `run.sh` and what that needs. */
  readonly payload: string;
  /** Everything that the machine writes to its console. */
  readonly heard: (line: string) => void;
  readonly timeoutMs: number;
}

const MEMORY_MB = 3_072;

/**
 * Boots a machine with an emulated CPU that has SVM, so that KVM works in it whatever this machine has (design.md §5), and
 * resolves with what `run.sh` ended with.
 */
export async function runBox({ system, payload, heard, timeoutMs }: BoxOptions): Promise<number> {
  const khz = await tscKhz();
  const disk = (id: string, file: string) => [
    ...['-drive', `file=${file},if=none,id=${id},format=raw,snapshot=on`],
    ...['-device', `nvme,drive=${id},serial=${id}`],
  ];
  const argv = ['-machine', 'q35,accel=tcg', '-cpu', 'max,+svm', '-m', `${MEMORY_MB}`, '-smp', '2'];
  argv.push('-display', 'none', '-serial', 'stdio', '-monitor', 'none', '-no-reboot', '-kernel', system.vmlinuz);
  argv.push(...disk('root', system.image), ...disk('payload', payload));
  argv.push(
    '-append',
    // A calibration of the clock fails on a busy machine, and hangs the boot.
    `console=ttyS0 root=/dev/nvme0n1 rw init=/box-init quiet panic=-1 mitigations=off tsc_early_khz=${khz}`,
  );
  const qemu = spawn('qemu-system-x86_64', argv, { stdio: ['ignore', 'pipe', 'inherit'] });
  const closed = once(qemu, 'close');
  const timer = setTimeout(() => qemu.kill('SIGKILL'), timeoutMs);
  let code: number | null = null;
  try {
    for await (const line of createInterface({ input: qemu.stdout })) {
      heard(line);
      const exit = /^BOX EXIT (\d+)/.exec(line)?.[1];
      if (exit !== undefined) code = Number(exit);
    }
    await closed;
  } finally {
    clearTimeout(timer);
    qemu.kill('SIGKILL');
  }
  if (code === null) throw new Error('the box ended, or was ended after its time, before its programs did');
  return code;
}

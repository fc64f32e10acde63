import { readFile } from 'node:fs/promises';
import { runProgram } from '../run-program.ts';

/**
 * The host's TSC frequency in kHz, for `tsc_early_khz` (design.md §5): as the host's kernel measured it at boot, or,
 * where its log is gone or closed, the clock of the first CPU. An error of some per cent only makes the guest's clock
 * source drift until it is calibrated; a missing value makes boots hang.
 */
export async function tscKhz(signal: AbortSignal): Promise<number> {
  const log = await runProgram('dmesg', [], signal).catch(() => '');
  const detected = /tsc: (?:Refined TSC clocksource calibration: |Detected )([\d.]+) MHz/g;
  const megahertz = [...log.matchAll(detected)].at(-1)?.[1] ?? /cpu MHz\s*: ([\d.]+)/.exec(await cpuinfo())?.[1];
  if (megahertz === undefined) throw new Error('the TSC frequency of this machine cannot be found out');
  return Math.round(Number(megahertz) * 1000);
}

function cpuinfo(): Promise<string> {
  return readFile('/proc/cpuinfo', 'utf8');
}

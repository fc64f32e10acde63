/**
 * Puts the guests' kernel into `<WRENN_DIR>/kernels`: `vmlinuz`, `vmlinux`, `initrd` and their manifest `kernel.json`.
 *
 *     node images/kernel.ts
 *
 * Environment: WRENN_DIR, WRENN_CACHE (default: see ./paths.ts).
 */
import { createHash } from 'node:crypto';
import { mkdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { type CpioEntry, cpio } from './kernel/cpio.ts';
import { bootModules, type KernelModule } from './kernel/modules.ts';
import { fetchKernel } from './kernel/package.ts';
import { extractVmlinux } from './kernel/vmlinux.ts';
import { buildPaths } from './paths.ts';
import { writeFileDurably } from './publish.ts';

/** What the agent reads of a kernel. */
export interface KernelManifest {
  version: string;
  /** sha256 of vmlinux, initrd and arguments together: a snapshot is bound to it (SN12). */
  digest: string;
  /** Arguments that every guest gets; the agent adds `tsc_early_khz=` and `ip=`. */
  arguments: string;
  /** More of them for guests that run without hardware virtualisation. */
  emulated_arguments: string;
  modules: string[];
}

/** Each has its reason. A reset (`reboot=t`) or a panic ends the VMM at once; the rest are milliseconds of every cold boot. */
const ARGUMENTS = [
  'console=ttyS0',
  'quiet',
  'loglevel=3', // a machine without PCI is an error to this kernel: no line on the console
  'panic=-1',
  'reboot=t',
  'random.trust_cpu=on', // RDRAND seeds the generator: nothing waits for entropy
  'tsc=reliable', // on a busy host the clock's watchdog would fall back to a slow clock
  'no5lvl', // guests are small: four levels of page tables
  'pci=off', // all devices are virtio-mmio
  'lsm=landlock',
  'audit=0',
  'nowatchdog',
  'cryptomgr.notests',
  '8250.nr_uarts=1',
];

/**
 * Under emulation there is no speculation to leak from, and its counter-measures cost every system call. Nor is pressure
 * (PSI) accounted there: that costs every switch between tasks.
 */
const EMULATED_ARGUMENTS = ['mitigations=off', 'init_on_alloc=0', 'psi=0'];

const DIRECTORY = 0o040755;
const EXECUTABLE = 0o100755;
const FILE = 0o100644;
const CHARACTER_DEVICE = 0o020600;

const paths = buildPaths(process.env);
const kernel = await fetchKernel(join(paths.cache, 'kernel'));
const vmlinuz = readFileSync(kernel.vmlinuz);
const vmlinux = extractVmlinux(vmlinuz);
const modules = bootModules(kernel.modules);
const initrd = cpio(initrdEntries(readFileSync(paths.init), modules));
const hash = createHash('sha256');
for (const part of [vmlinux, initrd, ARGUMENTS.join(' ')]) hash.update(part);
const manifest: KernelManifest = {
  version: kernel.version,
  digest: hash.digest('hex'),
  arguments: ARGUMENTS.join(' '),
  emulated_arguments: EMULATED_ARGUMENTS.join(' '),
  modules: modules.map((module) => module.name),
};
const target = join(paths.wrennDir, 'kernels');
mkdirSync(target, { recursive: true });
writeFileDurably(join(target, 'vmlinuz'), vmlinuz);
writeFileDurably(join(target, 'vmlinux'), vmlinux);
writeFileDurably(join(target, 'initrd'), initrd);
writeFileDurably(join(target, 'kernel.json'), `${JSON.stringify(manifest, null, 2)}\n`);
console.log(`kernel ${kernel.version}: ${modules.map((module) => module.name).join(' ')}`);

function initrdEntries(init: Buffer, loaded: KernelModule[]): CpioEntry[] {
  const order = `${loaded.map((module) => module.name).join('\n')}\n`;
  return [
    { name: 'dev', mode: DIRECTORY },
    { name: 'dev/console', mode: CHARACTER_DEVICE, device: [5, 1] }, // the kernel opens it before /init runs
    { name: 'root', mode: DIRECTORY },
    { name: 'init', mode: EXECUTABLE, data: init },
    { name: 'modules', mode: DIRECTORY },
    { name: 'modules/order', mode: FILE, data: Buffer.from(order) },
    ...loaded.map((module) => ({ name: `modules/${module.name}`, mode: FILE, data: module.data })),
  ];
}

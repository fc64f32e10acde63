import { createHash } from 'node:crypto';
import { copyFile, mkdir, open, readdir, readFile, rename, rm, stat } from 'node:fs/promises';
import { basename, join } from 'node:path';
import { runProgram } from '../run-program.ts';
import { seenByVmm } from './view.ts';
import type { VmmIdentity } from './vmm.ts';

/** What QEMU's microvm may load: its BIOS with ACPI or without, and the option ROMs by which it boots a kernel. */
const FIRMWARE = {
  qemu: ['bios-microvm.bin', 'qboot.rom', 'pvh.bin', 'linuxboot_dma.bin', 'kvmvapic.bin'],
  firecracker: [],
} as const;
/** Where distributions keep QEMU's firmware. */
const FIRMWARE_FOLDERS = ['/usr/share/qemu', '/usr/share/seabios', '/usr/local/share/qemu'];
const SUFFIX_OF_COPIES = '.new';

/** A VMM with all that it needs, under its digest: `WRENN_DIR/vmm/<digest>/`, which a VMM sees as `/run/wrenn/vmm`. */
export interface VmmFolder {
  readonly path: string;
  readonly digest: string;
}

/**
 * Copies a VMM, its libraries (where it is not static) and its firmware aside: nothing else is seen by a VMM, and a snapshot
 * runs on the very one that made it, also when the machine's packages have moved on since (QEMU's microvm has no versioned
 * machine type). The same VMM is copied once.
 */
export async function keepVmm(
  name: VmmIdentity['name'],
  program: string,
  vmms: string,
  signal: AbortSignal,
): Promise<VmmFolder> {
  const parts = await partsOf(name, program, signal);
  const digest = await digestOf(parts);
  const path = join(vmms, digest);
  if (await isThere(path)) return { path, digest };
  const aside = path + SUFFIX_OF_COPIES;
  await rm(aside, { recursive: true, force: true });
  for (const { from, to } of parts) {
    signal.throwIfAborted();
    await mkdir(join(aside, to, '..'), { recursive: true, mode: 0o755 });
    await copyFile(from, join(aside, to));
  }
  await rename(aside, path);
  return { path, digest };
}

/** The command line's beginning, as a VMM sees it, of one that is kept in this folder: by its own loader, where it has one. */
export async function vmmCommand(name: VmmIdentity['name'], folder: string): Promise<string[]> {
  const { vmm } = seenByVmm;
  const program = join(vmm, name);
  if (!(await isThere(join(folder, 'lib', LOADER)))) return [program];
  return [join(vmm, 'lib', LOADER), '--library-path', join(vmm, 'lib'), program];
}

/** VMMs that no snapshot and no VM needs, and copies that were not finished. */
export async function sweepVmms(vmms: string, needed: ReadonlySet<string>): Promise<void> {
  for (const name of await readdir(vmms)) {
    if (!needed.has(name)) await rm(join(vmms, name), { recursive: true, force: true });
  }
}

const LOADER = 'ld-linux-x86-64.so.2';

interface Part {
  readonly from: string;
  readonly to: string;
}

async function partsOf(vmm: VmmIdentity['name'], program: string, signal: AbortSignal): Promise<Part[]> {
  const parts: Part[] = [{ from: program, to: vmm }];
  const listed = (await isStatic(program)) ? '' : await runProgram('ldd', [program], signal);
  for (const [, path = ''] of listed.matchAll(/(?:=> |^\s*)(\/\S+) \(0x/gm)) {
    parts.push({ from: path, to: join('lib', basename(path)) });
  }
  for (const name of FIRMWARE[vmm]) {
    for (const folder of FIRMWARE_FOLDERS) {
      const from = join(folder, name);
      if (!(await isThere(from))) continue;
      parts.push({ from, to: join('share', name) });
      break;
    }
  }
  return parts;
}

const PT_INTERP = 3;

/** Whether an ELF file (64 bits, little-endian) names no loader: one that does needs libraries. */
async function isStatic(program: string): Promise<boolean> {
  const file = await open(program);
  try {
    const header = Buffer.alloc(64);
    await file.read(header, 0, header.length, 0);
    const [entryBytes, entries] = [header.readUInt16LE(0x36), header.readUInt16LE(0x38)];
    const table = Buffer.alloc(entryBytes * entries);
    await file.read(table, 0, table.length, Number(header.readBigUInt64LE(0x20)));
    return !Array.from({ length: entries }, (_, index) => table.readUInt32LE(index * entryBytes)).includes(PT_INTERP);
  } finally {
    await file.close();
  }
}

async function digestOf(parts: readonly Part[]): Promise<string> {
  const whole = createHash('sha256');
  for (const { from, to } of [...parts].sort((a, b) => a.to.localeCompare(b.to))) {
    whole.update(
      `${to} ${createHash('sha256')
        .update(await readFile(from))
        .digest('hex')}\n`,
    );
  }
  return whole.digest('hex');
}

async function isThere(path: string): Promise<boolean> {
  return stat(path).then(
    () => true,
    () => false,
  );
}

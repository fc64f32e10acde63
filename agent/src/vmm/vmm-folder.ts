import { createHash } from 'node:crypto';
import { copyFile, mkdir, readdir, readFile, rename, rm, stat } from 'node:fs/promises';
import { basename, join } from 'node:path';
import { runProgram } from '../run-program.ts';
import type { QemuBinary } from './qemu-binary.ts';
import { seenByVmm } from './view.ts';

const BINARY = 'qemu';
/** What microvm may load: its BIOS with ACPI or without, and the option ROMs by which it boots a kernel. */
const FIRMWARE = ['bios-microvm.bin', 'qboot.rom', 'pvh.bin', 'linuxboot_dma.bin', 'kvmvapic.bin'];
/** Where distributions keep QEMU's firmware. */
const FIRMWARE_FOLDERS = ['/usr/share/qemu', '/usr/share/seabios', '/usr/local/share/qemu'];
const SUFFIX_OF_COPIES = '.new';

/** A VMM with all that it needs, under its digest: `WRENN_DIR/vmm/<digest>/`, which a VMM sees as `/run/wrenn/vmm`. */
export interface VmmFolder {
  readonly path: string;
  readonly digest: string;
}

/**
 * Copies QEMU, its libraries and its firmware aside. A snapshot runs on the very VMM that made it, also when the machine's
 * packages have moved on since: microvm has no versioned machine type. The same VMM is copied once.
 */
export async function keepVmm(qemu: QemuBinary, vmms: string, signal: AbortSignal): Promise<VmmFolder> {
  const parts = await partsOf(qemu.path, signal);
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

/** The command line's beginning: the loader of its own libraries, and nothing of the machine's. */
export function vmmCommand(): string[] {
  const { vmm } = seenByVmm;
  return [join(vmm, 'lib', LOADER), '--library-path', join(vmm, 'lib'), join(vmm, BINARY), '-L', join(vmm, 'share')];
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

async function partsOf(binary: string, signal: AbortSignal): Promise<Part[]> {
  const parts: Part[] = [{ from: binary, to: BINARY }];
  const listed = await runProgram('ldd', [binary], signal);
  for (const [, path = ''] of listed.matchAll(/(?:=> |^\s*)(\/\S+) \(0x/gm)) {
    parts.push({ from: path, to: join('lib', basename(path)) });
  }
  for (const name of FIRMWARE) {
    for (const folder of FIRMWARE_FOLDERS) {
      const from = join(folder, name);
      if (!(await isThere(from))) continue;
      parts.push({ from, to: join('share', name) });
      break;
    }
  }
  return parts;
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

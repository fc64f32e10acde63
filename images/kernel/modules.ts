import { readdirSync, readFileSync } from 'node:fs';
import { basename, join } from 'node:path';
import { zstdDecompressSync } from 'node:zlib';

export interface KernelModule {
  name: string;
  data: Buffer;
}

/**
 * What a guest needs to reach its disk, its network and a source of entropy, and what envd needs to end connections
 * after a resume (tcp_diag). Absent ones are built into the kernel.
 */
const WANTED = ['virtio_mmio', 'virtio_blk', 'virtio_net', 'virtio-rng', 'tcp_diag'];

/** The wanted modules below `folder` and all they depend on, in an order in which they load. */
export function bootModules(folder: string): KernelModule[] {
  const files = moduleFiles(folder);
  const ordered = new Map<string, KernelModule>();
  const add = (name: string) => {
    const file = files.get(canonical(name));
    if (!file || ordered.has(canonical(name))) return;
    const data = readModule(file);
    for (const dependency of dependenciesOf(data)) add(dependency);
    ordered.set(canonical(name), { name: basename(file).replace(/\.ko(\.zst)?$/, '.ko'), data });
  };
  for (const name of WANTED) add(name);
  return [...ordered.values()];
}

function moduleFiles(folder: string): Map<string, string> {
  const files = new Map<string, string>();
  for (const path of readdirSync(folder, { recursive: true, encoding: 'utf8' })) {
    const name = /([^/]+)\.ko(\.zst)?$/.exec(path)?.[1];
    if (name) files.set(canonical(name), join(folder, path));
  }
  return files;
}

/** The kernel treats `-` and `_` in module names as one. */
function canonical(name: string): string {
  return name.replaceAll('-', '_');
}

function readModule(file: string): Buffer {
  const data = readFileSync(file);
  return file.endsWith('.zst') ? zstdDecompressSync(data) : data;
}

/** From the `.modinfo` section: packages carry no modules.dep, depmod would write it at installation. */
function dependenciesOf(module: Buffer): string[] {
  const start = module.indexOf('\0depends=');
  if (start < 0) return [];
  const from = start + '\0depends='.length;
  const list = module.toString('latin1', from, module.indexOf(0, from));
  return list.split(',').filter((name) => name !== '');
}

import { execFile } from 'node:child_process';
import { mkdir, readdir, symlink, unlink } from 'node:fs/promises';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { STATE_DIR } from '../../scripts/lib/checkout.ts';

export interface BareReport {
  readonly text: string;
  /** The median in the line with these words, in milliseconds. */
  of(words: string): number;
}

/** Runs `qemu_private_clone.py`, or `bare_pause.py` with its classes: the VMM by hand, in a guest of its own. */
export async function bareScript(what: 'pooled' | 'chain' | 'branch' | 'pause'): Promise<BareReport> {
  const [name, ...words] = what === 'pause' ? ['bare_pause.py'] : ['qemu_private_clone.py', what];
  const kernel = await installKernel();
  const argv = [join(import.meta.dirname, name), ...words, '--dir', '/var/tmp', '--kernel', kernel.image];
  const { stdout } = await promisify(execFile)('python3', argv, { maxBuffer: 1 << 20 }).finally(kernel.remove);
  return {
    text: stdout,
    of(words) {
      const line = stdout.split('\n').find((one) => one.includes(words)) ?? '';
      return Number(/median\s+([\d.]+)/.exec(line)?.[1] ?? Number.NaN);
    },
  };
}

/** The kernel that guests have, with its modules where the script looks for them. Returns how to take them away again. */
async function installKernel(): Promise<{ image: string; remove: () => Promise<void> }> {
  const cache = join(STATE_DIR, 'cache/kernel');
  const [version] = await readdir(cache);
  if (version === undefined) throw new Error('there is no kernel: "make build" first');
  const modules = join('/lib/modules', version);
  await mkdir('/lib/modules', { recursive: true });
  const made = await symlink(join(cache, version, 'lib/modules', version), modules).then(
    () => true,
    (error: NodeJS.ErrnoException) => {
      if (error.code === 'EEXIST') return false; // the distribution's own
      throw error;
    },
  );
  const image = join(cache, version, 'boot', `vmlinuz-${version}`);
  return { image, remove: async () => (made ? unlink(modules) : undefined) };
}

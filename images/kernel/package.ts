import { execFile } from 'node:child_process';
import { mkdirSync, readdirSync, renameSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { promisify } from 'node:util';

const run = promisify(execFile);

/** The distribution's kernels for virtual machines: Debian's, then Ubuntu's. Each is a package that depends on the newest. */
const META_PACKAGES = ['linux-image-cloud-amd64', 'linux-image-virtual'];

export interface KernelFiles {
  /** e.g. `6.1.0-56-cloud-amd64`. */
  version: string;
  vmlinuz: string;
  modules: string;
}

/** Downloads and unpacks (never installs) the distribution's current kernel into `cache`, once per version. */
export async function fetchKernel(cache: string): Promise<KernelFiles> {
  const image = await currentImagePackage();
  const version = image.replace(/^linux-image-/, '');
  const target = join(cache, version);
  const files = {
    version,
    vmlinuz: join(target, 'boot', `vmlinuz-${version}`),
    modules: join(target, 'lib/modules', version),
  };
  mkdirSync(cache, { recursive: true });
  if (readdirSync(cache).includes(version)) return files;
  const draft = `${target}.new`;
  rmSync(draft, { recursive: true, force: true });
  mkdirSync(draft, { recursive: true });
  // apt drops to its own user for downloads, which cannot enter /root: that only costs a notice.
  await run('apt-get', ['download', '-q', '-o', 'APT::Sandbox::User=root', image, ...(await modulesPackage(version))], {
    cwd: draft,
  });
  for (const file of readdirSync(draft).filter((name) => name.endsWith('.deb'))) {
    await run('dpkg-deb', ['-x', join(draft, file), draft]);
    rmSync(join(draft, file));
  }
  renameSync(draft, target);
  return files;
}

async function currentImagePackage(): Promise<string> {
  for (const meta of META_PACKAGES) {
    const { stdout } = await run('apt-cache', ['show', '--no-all-versions', meta]).catch(() => ({ stdout: '' }));
    const name = /^Depends:.*?\b(linux-image-\d[\w.+-]*)/m.exec(stdout)?.[1];
    if (name) return name;
  }
  throw new Error(`apt knows none of ${META_PACKAGES.join(', ')}: run "apt-get update" first`);
}

/** Ubuntu keeps the modules in a package of their own. */
async function modulesPackage(version: string): Promise<string[]> {
  const name = `linux-modules-${version}`;
  const { stdout } = await run('apt-cache', ['show', '--no-all-versions', name]).catch(() => ({ stdout: '' }));
  return stdout === '' ? [] : [name];
}

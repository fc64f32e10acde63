import { execFile } from 'node:child_process';
import { chmodSync, cpSync, existsSync, linkSync, mkdirSync, readdirSync, rmSync, symlinkSync } from 'node:fs';
import { basename, dirname, join, relative } from 'node:path';
import { promisify } from 'node:util';
import { makeExt4 } from '../../images/rootfs/ext4.ts';
import { CHECKOUT } from '../../scripts/lib/checkout.ts';
import { runtimePackages } from './packages.ts';

/** Sparse: room for what the agent makes in there. */
const SIZE_BYTES = 16 * 1024 ** 3;
const WORKSPACES = ['proto', 'core', 'actors', 'agent', 'native/addon'];

export interface PayloadOptions {
  /** Made by this, beside the stage; on the same file system as what is linked into it. */
  readonly folder: string;
  /** Kernels and images of the agent. */
  readonly built: string;
  /** Test programs of the native part. */
  readonly tests: readonly string[];
  /** Programs that are there on this machine and wanted in the box, e.g. Firecracker. */
  readonly programs: readonly string[];
}

/**
 * The disk of one run: the agent with all that it needs to run, the native tests, and what to do with them. Files are
 * linked into a folder, which becomes an ext4 image; `lib/` is the agent's root folder and is written to in there.
 */
export async function makePayload({ folder, built, tests, programs }: PayloadOptions): Promise<string> {
  const stage = join(folder, 'stage');
  rmSync(stage, { recursive: true, force: true });
  const checkout = join(stage, 'checkout');
  const put = (from: string, to: string) => {
    mkdirSync(dirname(to), { recursive: true });
    cpSync(from, to, { recursive: true, filter: (source) => !/\/(node_modules|target)$/.test(source) });
  };
  for (const workspace of WORKSPACES) put(join(CHECKOUT, workspace), join(checkout, workspace));
  put(join(CHECKOUT, 'package.json'), join(checkout, 'package.json'));
  put(import.meta.dirname, join(checkout, 'e2e/kvm-host'));
  for (const place of runtimePackages(CHECKOUT, 'agent', ['vitest', 'vite']))
    put(place, join(checkout, relative(CHECKOUT, place)));
  const scope = join(checkout, 'node_modules/@wrenn');
  mkdirSync(scope, { recursive: true });
  for (const workspace of WORKSPACES) symlinkSync(join('../..', workspace), join(scope, basename(workspace)));

  const programsTo = [...programs, process.execPath];
  for (const program of programsTo) put(program, join(stage, 'bin', basename(program)));
  for (const test of tests) put(test, join(stage, 'tests', basename(test).replace(/-[0-9a-f]{16}$/, '')));
  for (const part of ['kernels', 'images']) {
    mkdirSync(join(stage, 'lib', part), { recursive: true });
    for (const file of readdirSync(join(built, part)).filter(
      (name) => part === 'kernels' || name.startsWith('minimal.'),
    ))
      link(join(built, part, file), join(stage, 'lib', part, file));
  }
  put(join(import.meta.dirname, 'run.sh'), join(stage, 'run.sh'));
  chmodSync(join(stage, 'run.sh'), 0o755);
  const image = join(folder, 'payload.ext4');
  await makeExt4(stage, image, SIZE_BYTES);
  rmSync(stage, { recursive: true, force: true });
  return image;
}

/** A sparse image of 20 GB is not copied. */
function link(from: string, to: string): void {
  if (!existsSync(from)) return;
  try {
    linkSync(from, to);
  } catch {
    cpSync(from, to);
  }
}

/** Builds (if needed) and finds the test programs of the addon that say something of a KVM host. */
export async function nativeTests(names: readonly string[]): Promise<string[]> {
  const present = names.filter((name) => existsSync(join(CHECKOUT, `native/addon/tests/${name}.rs`)));
  if (present.length === 0) return [];
  const argv = ['test', '-p', 'wrenn-addon', '--no-run', '--message-format=json-render-diagnostics'];
  const { stdout } = await promisify(execFile)('cargo', [...argv, ...present.flatMap((name) => ['--test', name])], {
    cwd: join(CHECKOUT, 'native'),
    maxBuffer: 64 << 20,
  });
  const lines = stdout.split('\n').filter((line) => line.startsWith('{'));
  return lines.flatMap((line) => {
    const { executable, target } = JSON.parse(line) as { executable?: string | null; target?: { name: string } };
    return executable && present.includes(target?.name ?? '') ? [executable] : [];
  });
}

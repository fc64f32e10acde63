import { createHash } from 'node:crypto';
import { access, constants, copyFile, mkdir, readFile, realpath, rename } from 'node:fs/promises';
import { join } from 'node:path';
import { AgentError } from '../errors.ts';
import { runProgram } from '../run-program.ts';

const NAME = 'firecracker';
/** Diff snapshots with memory served by userfaultfd as we use them. */
const OLDEST = [1, 10] as const;

export interface FirecrackerBinary {
  readonly path: string;
  readonly version: string;
  /** SHA-256 of the program, which is static. */
  readonly digest: string;
}

/** The one that `WRENN_FIRECRACKER_BIN` names, else of `PATH`; null where there is none. Fails with `vmm_failed` when it is too old. */
export async function findFirecracker(
  named: string | undefined,
  signal: AbortSignal,
): Promise<FirecrackerBinary | null> {
  const path = await firstProgram([
    ...(named === undefined ? [] : [named]),
    ...(process.env.PATH ?? '').split(':').map((folder) => join(folder, NAME)),
  ]);
  if (path === null) return null;
  const version = /v(\d+\.\d+\.\d+)/.exec(await runProgram(path, ['--version'], signal))?.[1] ?? '0.0.0';
  const [major = 0, minor = 0] = version.split('.').map(Number);
  if (major < OLDEST[0] || (major === OLDEST[0] && minor < OLDEST[1])) {
    throw new AgentError('vmm_failed', `Firecracker ${version} is older than ${OLDEST.join('.')}`);
  }
  const digest = createHash('sha256')
    .update(await readFile(path))
    .digest('hex');
  return { path, version, digest };
}

/** Copies it aside, as `vmmFolder/<digest>/firecracker`: a snapshot runs on the very program that made it. */
export async function keepFirecracker({ path, digest }: FirecrackerBinary, vmms: string): Promise<void> {
  const folder = join(vmms, digest);
  const kept = join(folder, NAME);
  if ((await firstProgram([kept])) !== null) return;
  await mkdir(folder, { recursive: true, mode: 0o755 });
  await copyFile(path, `${kept}.new`);
  await rename(`${kept}.new`, kept);
}

async function firstProgram(paths: readonly string[]): Promise<string | null> {
  for (const path of paths) {
    try {
      await access(path, constants.X_OK);
      return await realpath(path);
    } catch {} // not there
  }
  return null;
}

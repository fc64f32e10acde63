import { access, constants, readFile, realpath } from 'node:fs/promises';
import { join } from 'node:path';
import { AgentError } from '../errors.ts';
import { runProgram } from '../run-program.ts';

const NAME = 'firecracker';
/** Diff snapshots with memory served by userfaultfd as we use them. */
const OLDEST = [1, 10] as const;
/**
 * Releases are built for musl and have filters for system calls built in; a build for the GNU C library gets filters that
 * allow everything (docs/seccomp.md of Firecracker). Whether static or not, such a program has this in it.
 */
const SIGN_OF_GLIBC = 'GLIBC_';
export const UNFILTERED = 'this Firecracker is built for the GNU C library: its seccomp filters allow everything';

export interface FirecrackerBinary {
  readonly path: string;
  readonly version: string;
  /** It has filters for system calls. */
  readonly isFiltered: boolean;
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
  return { path, version, isFiltered: !(await readFile(path)).includes(SIGN_OF_GLIBC) };
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

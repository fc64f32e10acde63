import { access, constants, realpath } from 'node:fs/promises';
import { join } from 'node:path';
import { AgentError } from '../errors.ts';
import { runProgram } from '../run-program.ts';

const NAME = 'qemu-system-x86_64';
/** Read-only clones of memory files (`rom=off`) came with 8.2 (VM4). */
const OLDEST = [8, 2] as const;

export interface QemuBinary {
  readonly path: string;
  readonly version: string;
}

/** The QEMU of this machine. Fails with `vmm_failed` where it is missing or too old. */
export async function findQemu(signal: AbortSignal): Promise<QemuBinary> {
  const path = await inPath(NAME);
  if (path === undefined) throw new AgentError('vmm_failed', `${NAME} is not installed (package qemu-system-x86)`);
  const version = /version (\d+\.\d+(?:\.\d+)?)/.exec(await runProgram(path, ['--version'], signal))?.[1] ?? '0.0';
  const [major = 0, minor = 0] = version.split('.').map(Number);
  if (major < OLDEST[0] || (major === OLDEST[0] && minor < OLDEST[1])) {
    throw new AgentError('vmm_failed', `QEMU ${version} is older than ${OLDEST.join('.')}`);
  }
  return { path, version };
}

async function inPath(name: string): Promise<string | undefined> {
  for (const folder of (process.env.PATH ?? '/usr/bin:/bin').split(':')) {
    const path = join(folder, name);
    try {
      await access(path, constants.X_OK);
      return await realpath(path);
    } catch {} // not in this folder
  }
  return undefined;
}

import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { open } from 'node:fs/promises';
import { ProgramFailed } from '../run-program.ts';

/** uid and gid of `nobody` in Debian's base-passwd. */
const NOBODY = '65534';
/** The image as the programs see it: their only descriptor, so that they need no way to it. */
const IMAGE = '/proc/self/fd/3';
/** e2fsck mended something, as the journal of a guest that was not shut down. */
const MENDED = 1;

/**
 * Makes an image as small as what is in it (FS5); whoever starts from it has a larger disk, and grows the file system at
 * the start. The file system is a guest's work: what reads it here is no more than `nobody` with this one file.
 */
export async function shrinkImage(path: string, signal: AbortSignal): Promise<void> {
  const file = await open(path, 'r+');
  try {
    const { uid, gid } = await file.stat();
    await file.chown(Number(NOBODY), Number(NOBODY));
    await runOn(file.fd, 'e2fsck', ['-fy', IMAGE], MENDED, signal);
    await runOn(file.fd, 'resize2fs', ['-M', IMAGE], 0, signal);
    await file.chown(uid, gid);
    await file.sync();
  } finally {
    await file.close();
  }
}

async function runOn(fd: number, program: string, args: string[], mostCode: number, signal: AbortSignal) {
  const asNobody = [`--reuid=${NOBODY}`, `--regid=${NOBODY}`, '--clear-groups', '--no-new-privs', '--'];
  const child = spawn('setpriv', [...asNobody, program, ...args], {
    ...{ cwd: '/', signal, env: { PATH: process.env.PATH } },
    stdio: ['ignore', 'ignore', 'pipe', fd],
  });
  let said = '';
  child.stderr?.setEncoding('utf8').on('data', (text: string) => {
    said = (said + text).slice(-1_000);
  });
  const [code] = (await once(child, 'close')) as [number | null];
  if (code === null || code > mostCode) throw new ProgramFailed(program, code, said, null);
}

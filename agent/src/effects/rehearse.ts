import { randomBytes } from 'node:crypto';
import type { SandboxFiles } from '../files.ts';
import { runCommand } from '../guest/exec.ts';
import type { Guest } from '../guest/guest.ts';
import { type Lineage, newThawKey, writeWhole } from '../snapshots/manifest.ts';

/**
 * Whoever is made of this guest, or takes it over, is told apart by an identity of its own (SN11). The name is as long as a
 * sandbox's id: files that have it need not grow then.
 */
const NAME = 'nobody'.padEnd(22, '0');
const NOBODY = { sandboxId: NAME, hostname: NAME, accessToken: '', envs: {}, defaultUser: 'root' };
const ENTROPY_BYTES = 64;
/** The next agent goes on where one died, so it must know the key; the guest of a template has nothing to keep from it. */
const REHEARSAL_KEY = 'rehearsal';
/** There in every image. What becomes of it does not matter. */
const COMMAND = { cmd: '/bin/true', args: [], cwd: '', envs: {}, stdin: new Uint8Array(), timeoutMs: 0 };

/**
 * What a template does before it is frozen for its boot snapshot: all that its clones will do first. The files that this
 * reads, and what the kernel sets up for it once, are then in the memory that they start with.
 */
export async function rehearseTemplate(guest: Guest, signal: AbortSignal): Promise<void> {
  await guest.freeze(REHEARSAL_KEY, { sync: true }, signal);
  guest.close(); // a new identity ends the connections from before the freeze
  await play(guest, REHEARSAL_KEY, signal);
}

/**
 * What a warm VM does once before it is parked: becomes somebody, runs a command, and stands still again, under a key that
 * only its own folder has. An emulator translates code when it is run for the first time, which takes longer than the work
 * itself; whoever takes the VM over finds that done. Its connections are closed, so that it does not wake up to their ends.
 */
export async function rehearse(
  guest: Guest,
  files: SandboxFiles,
  lineage: Lineage,
  signal: AbortSignal,
): Promise<void> {
  await play(guest, lineage.thaw_key ?? '', signal);
  const thawKey = newThawKey();
  await writeWhole(files.lineage, { ...lineage, thaw_key: thawKey } satisfies Lineage);
  await guest.freeze(thawKey, { sync: true }, signal);
  guest.close();
}

async function play(guest: Guest, thawKey: string, signal: AbortSignal): Promise<void> {
  await guest.thaw(thawKey, { ...NOBODY, entropy: randomBytes(ENTROPY_BYTES), now: new Date() }, signal);
  const run = async (user: string) => {
    for await (const _ of runCommand(guest, { ...COMMAND, user }, signal));
  };
  // In the home of the user that sandboxes have by default; an image may be without.
  await run('user').catch(() => run('root'));
}

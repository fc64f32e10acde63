import { mkdir, readFile, rename, rm, writeFile } from 'node:fs/promises';
import type { FreezeInput, VmQuiesced } from '@wrenn/actors';
import { AgentError } from '../errors.ts';
import type { SavingFiles } from '../files.ts';
import { GuestError } from '../guest/guest-error.ts';
import type { LiveVm } from '../live-vms.ts';
import { newThawKey } from '../snapshots/manifest.ts';
import type { EffectContext } from './context.ts';
import { liveVm } from './live-vm.ts';

/** What is under way at a pause may end within this time; streams that go on are reset, their clients come again. */
const DRAIN_MS = 500;
/** A guest that lives answers in milliseconds, on a very busy machine in hundreds. */
const HEALTH_PATIENCE_MS = 2_000;
/** envd gives its file systems one second to be written. */
const FREEZE_PATIENCE_MS = 5_000;

/** What must outlive the agent while a guest is frozen. Not synced: after a crash of the machine there is no guest. */
export interface SavingNotes {
  readonly thaw_key: string;
  /** The guest has said that it is frozen. False: it may be, or may become so when it is able to answer again. */
  readonly frozen: boolean;
}

/** `vm.quiesce`: connections end, and the guest stands still but for envd. */
export async function quiesce(
  context: EffectContext,
  vmId: string,
  input: FreezeInput,
  signal: AbortSignal,
): Promise<VmQuiesced> {
  const vm = liveVm(context, vmId, input);
  await context.vms.drain(vmId, DRAIN_MS);
  await context.snapshots.firstTouches.end(vmId);
  await context.times.measure(vmId, 'quiesce', () => freezeGuest(vm, context.files.sandbox(vmId).saving, signal));
  return { type: 'QUIESCED', timings_ms: context.times.take(vmId) };
}

/**
 * Freezes the guest's processes, with a key that is written down first: the one of an earlier attempt whose outcome is not
 * known, if there was one. Fails with `guest_unresponsive`.
 */
export async function freezeGuest(vm: LiveVm, saving: SavingFiles, signal: AbortSignal): Promise<string> {
  const thawKey = (await readNotes(saving))?.thaw_key ?? newThawKey();
  await rm(saving.folder, { recursive: true, force: true });
  await mkdir(saving.folder, { mode: 0o700 });
  await writeNotes(saving, { thaw_key: thawKey, frozen: false });
  const within = (milliseconds: number) => AbortSignal.any([signal, AbortSignal.timeout(milliseconds)]);
  try {
    await vm.guest.health(within(HEALTH_PATIENCE_MS));
    await vm.guest.freeze(thawKey, within(FREEZE_PATIENCE_MS));
  } catch (cause) {
    signal.throwIfAborted();
    const words = cause instanceof GuestError ? `: ${cause.message}` : '';
    throw new AgentError('guest_unresponsive', `the guest did not freeze its processes${words}`, { cause });
  }
  await writeNotes(saving, { thaw_key: thawKey, frozen: true });
  return thawKey;
}

/** There whole or not at all: without the key a frozen guest is lost. */
async function writeNotes(saving: SavingFiles, notes: SavingNotes): Promise<void> {
  await writeFile(`${saving.notes}.new`, JSON.stringify(notes), { mode: 0o600 });
  await rename(`${saving.notes}.new`, saving.notes);
}

/** Null: no pause or branch is under way. */
export async function readNotes(saving: SavingFiles): Promise<SavingNotes | null> {
  try {
    return JSON.parse(await readFile(saving.notes, 'utf8'));
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return null;
    throw error;
  }
}

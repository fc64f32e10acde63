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
/** envd gives its file systems one second to be written, and its processes 1.5 s to stand. */
const FREEZE_PATIENCE_MS = 5_000;

/** What must outlive the agent while a guest is frozen. Not synced: after a crash of the machine there is no guest. */
export interface SavingNotes {
  readonly thaw_key: string;
  /** The guest has said that it is frozen. False: it may be, or may become so when it is able to answer again. */
  readonly frozen: boolean;
}

/**
 * `vm.quiesce`: connections end, and the guest stands still but for envd. What its file systems have not written yet is in
 * its memory, and goes with that into the snapshot of a pause; only the boot of a template, whose disk many start from,
 * waits for it to be written.
 */
export async function quiesce(
  context: EffectContext,
  vmId: string,
  input: FreezeInput,
  signal: AbortSignal,
): Promise<VmQuiesced> {
  const vm = liveVm(context, vmId, input);
  await context.vms.drain(vmId, DRAIN_MS);
  await context.snapshots.firstTouches.end(vmId);
  const { saving } = context.files.sandbox(vmId);
  await context.times.measure(vmId, 'quiesce', async () => {
    const thawKey = await noteFreeze(saving);
    await freezeGuest(vm, thawKey, { sync: input.purpose === 'boot' }, signal);
    await noteFrozen(saving, thawKey);
  });
  return { type: 'QUIESCED', timings_ms: context.times.take(vmId) };
}

/**
 * Before the guest is asked to freeze: gives the key for that, which is written down. It is the one of an earlier attempt
 * whose outcome is not known, if there was one.
 */
export async function noteFreeze(saving: SavingFiles): Promise<string> {
  const thawKey = (await readNotes(saving))?.thaw_key ?? newThawKey();
  await rm(saving.folder, { recursive: true, force: true });
  await mkdir(saving.folder, { mode: 0o700 });
  await writeNotes(saving, { thaw_key: thawKey, frozen: false });
  return thawKey;
}

/** The guest has answered that it is frozen. */
export function noteFrozen(saving: SavingFiles, thawKey: string): Promise<void> {
  return writeNotes(saving, { thaw_key: thawKey, frozen: true });
}

/** It has answered that it runs on: from now on nothing is lost when it does not answer. */
export function noteThawed(saving: SavingFiles, thawKey: string): Promise<void> {
  return writeNotes(saving, { thaw_key: thawKey, frozen: false });
}

/** Freezes the guest's processes. Fails with `guest_unresponsive`. */
export async function freezeGuest(
  vm: LiveVm,
  thawKey: string,
  how: { readonly sync: boolean },
  signal: AbortSignal,
): Promise<void> {
  try {
    await vm.guest.freeze(thawKey, how, AbortSignal.any([signal, AbortSignal.timeout(FREEZE_PATIENCE_MS)]));
  } catch (cause) {
    signal.throwIfAborted();
    const words = cause instanceof GuestError ? `: ${cause.message}` : '';
    throw new AgentError('guest_unresponsive', `the guest did not freeze its processes${words}`, { cause });
  }
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

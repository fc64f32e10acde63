import { stat } from 'node:fs/promises';
import type { VmOrigin } from '@wrenn/actors';
import type { Logger } from '@wrenn/core';
import { type AgentFiles, WORKING_SET } from '../files.ts';
import { isServed, saveFirstTouches } from '../vmm/memory-server.ts';

/**
 * SN6: what the first VM of a snapshot touches until its first command was answered is what each later one touches first, and
 * gets ahead of its asking. Only a hint: it lies beside the snapshot's files and is none of them, and whoever finds none
 * records it. A VM whose memory nobody serves has nothing to record.
 */
export class FirstTouches {
  readonly #files: AgentFiles;
  readonly #log: Logger;
  /** Keeps the snapshot from being deleted meanwhile. */
  readonly #reading: (origin: VmOrigin, work: () => Promise<void>) => Promise<void>;
  /** By VM, from the end of its restore to its first command, pause or end: what it was restored from. */
  readonly #begun = new Map<string, VmOrigin>();

  constructor(files: AgentFiles, log: Logger, reading: (origin: VmOrigin, work: () => Promise<void>) => Promise<void>) {
    this.#files = files;
    this.#log = log;
    this.#reading = reading;
  }

  /** A paused VM has the working set of its pause. */
  begin(vmId: string, origin: VmOrigin): void {
    if (origin.kind === 'snapshot') this.#begun.set(vmId, origin);
  }

  /**
   * Writes them, where the snapshot has none. The first call counts; one that fails leaves the snapshot as it was, and is
   * told to the log only: no pause and no end of a VM fails over a hint.
   */
  async end(vmId: string): Promise<void> {
    const origin = this.#begun.get(vmId);
    if (origin?.kind !== 'snapshot') return;
    this.#begun.delete(vmId);
    try {
      await this.#write(vmId, origin);
    } catch (error) {
      this.#log.warn({ err: error, vm: vmId }, 'what it touched first was not written');
    }
  }

  async #write(vmId: string, origin: VmOrigin & { kind: 'snapshot' }): Promise<void> {
    const [files, snapshot] = [this.#files.sandbox(vmId), this.#files.snapshot(origin.snapshot_id)];
    if ((await isThere(snapshot.at(WORKING_SET))) || !(await isServed(files))) return; // nobody waits for the snapshot then
    await this.#reading(origin, async () => {
      if (await isThere(snapshot.manifest)) await saveFirstTouches(files, snapshot.folder);
    });
  }
}

async function isThere(path: string): Promise<boolean> {
  return stat(path).then(
    () => true,
    () => false,
  );
}

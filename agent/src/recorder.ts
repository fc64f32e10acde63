import { isSandboxVm, vmStatus } from '@wrenn/actors';
import type { JournalEntry } from '@wrenn/core';
import type { Admission } from './effects/admission.ts';
import type { Incarnations } from './incarnations.ts';
import type { VmJournal } from './vm-journal.ts';

/** Keeps what is derived from the journal in step with it: which incarnations there are, and who waits to boot. */
export class Recorder {
  readonly #journal: VmJournal;
  readonly #incarnations: Incarnations;
  readonly #admission: Admission;
  readonly #stopping = new AbortController();
  #running: Promise<void> = Promise.resolve();

  constructor(journal: VmJournal, incarnations: Incarnations, admission: Admission) {
    this.#journal = journal;
    this.#incarnations = incarnations;
    this.#admission = admission;
  }

  /** Notes what there is, then every commit. */
  async start(): Promise<void> {
    const entries = this.#journal.runtime.feed(null, this.#stopping.signal);
    this.#running = this.#follow(entries);
    for (const view of await this.#journal.list()) {
      if (!isSandboxVm(view)) continue;
      const { sandbox_id, incarnation, epoch } = view.context;
      this.#incarnations.note(sandbox_id, incarnation, vmStatus(view), epoch);
    }
  }

  async stop(): Promise<void> {
    this.#stopping.abort();
    await this.#running;
  }

  async #follow(entries: AsyncIterable<JournalEntry>): Promise<void> {
    for await (const { id } of entries) {
      const view = await this.#journal.read(id);
      if (view === null) continue;
      const { sandbox_id, incarnation, epoch } = view.context;
      const status = vmStatus(view);
      if (isSandboxVm(view)) this.#incarnations.note(sandbox_id, incarnation, status, epoch);
      if (status !== 'starting') this.#admission.leave(id);
    }
  }
}

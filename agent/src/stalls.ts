import type { StallEnded, Stalled } from '@wrenn/actors';
import type { Logger } from '@wrenn/core';
import type { EffectContext } from './effects/context.ts';

/** A VMM that is at all there answers within this. */
const VMM_PATIENCE_MS = 5_000;

/** A guest that stands still so can be set going: nothing else is being done with it. */
const AT_REST = 'ready';

/**
 * FS4: guests that stand still because a write of theirs found no room on this host. Noticed when it happens, told to the
 * VM's actor, and ended when there is room.
 */
export class Stalls {
  readonly #context: EffectContext;
  readonly #log: Logger;
  readonly #stopping = new AbortController();
  /** By VM, until its VMM ends. */
  readonly #watched = new Map<string, Promise<void>>();
  readonly #stalled = new Set<string>();

  constructor(context: EffectContext) {
    this.#context = context;
    this.#log = context.log;
  }

  /** From now on; more than once is fine. A VMM of before, which has no socket for it, cannot tell. */
  watch(vmId: string): void {
    if (this.#watched.has(vmId)) return;
    const { vmm, files } = this.#context;
    const watching = vmm
      .watchStalls(files.sandbox(vmId), () => this.#note(vmId), this.#stopping.signal)
      .catch((error) => this.#log.debug({ err: error, vm: vmId }, 'a VMM that cannot tell when it stops its guest'))
      .finally(() => {
        this.#watched.delete(vmId);
        this.#stalled.delete(vmId);
      });
    this.#watched.set(vmId, watching);
  }

  /** There is room: whoever stands still goes on. One that a pause or branch is at work with is tried again at the next call. */
  async end(): Promise<void> {
    await Promise.all([...this.#stalled].map((vmId) => this.#end(vmId)));
  }

  async close(): Promise<void> {
    this.#stopping.abort();
    await Promise.all(this.#watched.values());
  }

  #note(vmId: string): void {
    if (this.#stalled.has(vmId)) return;
    this.#stalled.add(vmId);
    this.#log.warn({ vm: vmId }, 'a write of a guest found no room on the disk: it stands still until there is some');
    this.#tell(vmId, { type: 'STALLED', code: 'disk_full', message: 'a write found no room on the disk of its host' });
  }

  async #end(vmId: string): Promise<void> {
    const { serial, runtime, vmm, files } = this.#context;
    const patience = AbortSignal.any([this.#stopping.signal, AbortSignal.timeout(VMM_PATIENCE_MS)]);
    try {
      await serial.run(vmId, async () => {
        if ((await runtime().read({ kind: 'vm', id: vmId }))?.path !== AT_REST) return;
        this.#stalled.delete(vmId); // it may meet the end of the disk at once again
        await vmm.endStall(files.sandbox(vmId), patience);
        this.#log.info({ vm: vmId }, 'there is room again: the guest goes on');
        this.#tell(vmId, { type: 'STALL_ENDED' });
      });
    } catch (error) {
      if (this.#watched.has(vmId)) this.#stalled.add(vmId);
      this.#log.warn({ err: error, vm: vmId }, 'a guest that stands still could not be set going');
    }
  }

  /** The journal is on the same disk: this may have to wait for room, too. */
  #tell(vmId: string, event: Stalled | StallEnded): void {
    const cause = { type: 'system', name: 'vmm' } as const;
    this.#context
      .runtime()
      .tell({ kind: 'vm', id: vmId }, event, { cause })
      .catch((error) => this.#log.warn({ err: error, vm: vmId }, `${event.type} was not noted`));
  }
}

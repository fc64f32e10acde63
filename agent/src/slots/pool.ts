import { setTimeout as sleep } from 'node:timers/promises';
import type { EgressPolicy } from '@wrenn/actors';
import { networkPrepare, slotCreate, slotDescribe, slotList, slotRemove } from '@wrenn/addon';
import type { Logger } from '@wrenn/core';
import { AgentError } from '../errors.ts';
import type { EgressPolicies } from './egress-policies.ts';
import { namespaceOf, userOf } from './names.ts';

const REMOVAL_RETRY_MS = 1_000;

export interface NetworkSlot {
  readonly index: number;
  readonly hostIp: string;
  readonly guestIp: string;
  readonly namespace: string;
}

export interface SlotPoolOptions {
  readonly first: number;
  readonly last: number;
  /** Ready slots kept (NET5). */
  readonly ready: number;
  readonly egress: EgressPolicies;
  readonly log: Logger;
}

/**
 * Network slots, made ahead of demand (NET5): a burst of creates takes what is there, and the making of the next ones
 * goes on behind. So does the removal of one that a VM gives back: the kernel takes its time over it (some 25 ms until
 * nobody looks at its links any more). Lowest free first. Which slot belongs to which VM is the journal's to know; the pool
 * only knows which are out.
 */
export class SlotPool {
  readonly #options: SlotPoolOptions;
  /** Out with a VM, whose id it is. */
  readonly #taken = new Map<number, string>();
  readonly #ready = new Map<number, NetworkSlot>();
  readonly #making = new Map<number, Promise<NetworkSlot>>();
  /** Given back, and nobody's until they are gone: then the promise resolves. */
  readonly #removing = new Map<number, Promise<void>>();
  /** They are removed one after the other: the kernel's lock lets no two at it anyway. */
  #removals: Promise<void> = Promise.resolve();
  readonly #closing = new AbortController();

  constructor(options: SlotPoolOptions) {
    this.#options = options;
  }

  /** Installs the host's rules and removes what belongs to no live VM (NET3). `live`: slots of VMs to be adopted, with their ids. */
  async start(live: ReadonlyMap<number, string>): Promise<void> {
    const { first, last, egress, log } = this.#options;
    await networkPrepare({ slots: { first, last } });
    for (const [index, vmId] of live) this.#taken.set(index, vmId);
    for (const { index } of await slotList({ first, last })) {
      if (!live.has(index)) await slotRemove({ index });
    }
    await egress.prune((index) => live.has(index));
    for (const [index, vmId] of live) {
      // Without it the guest resolves no names until its policy is set again: no reason to lose it.
      await egress.resume(index, vmId).catch((err) => log.error({ err, vm: vmId }, 'names cannot be resolved for it'));
    }
    this.#refill();
  }

  /**
   * A slot for one VM: the one it has, a ready one, or one made now; waits for one that is being removed where there is
   * no other. Fails with `no_slots_available`.
   */
  async takeFor(vmId: string, signal: AbortSignal): Promise<NetworkSlot> {
    const mine = this.takenBy(vmId);
    if (mine !== undefined) return asSlot(await slotDescribe({ index: mine }));
    const ready = lowest(this.#ready.keys());
    if (ready !== undefined) {
      const slot = this.#ready.get(ready) as NetworkSlot;
      this.#ready.delete(ready);
      this.#taken.set(ready, vmId);
      this.#refill();
      return slot;
    }
    const index = lowest(this.#making.keys()) ?? this.#lowestFree();
    if (index === undefined && this.#removing.size > 0) {
      await Promise.race([...this.#removing.values(), rejectedBy(signal)]);
      return this.takeFor(vmId, signal);
    }
    if (index === undefined) throw new AgentError('no_slots_available', 'every network slot of this host is in use');
    const making = this.#making.get(index) ?? this.#make(index);
    this.#making.delete(index); // nobody else may wait for it
    this.#taken.set(index, vmId);
    try {
      return await making;
    } catch (error) {
      this.#taken.delete(index);
      throw error;
    } finally {
      this.#refill();
    }
  }

  /** The slot that a VM has; undefined: none. */
  takenBy(vmId: string): number | undefined {
    for (const [index, owner] of this.#taken) if (owner === vmId) return index;
    return undefined;
  }

  /** A slot goes to another VM with what is in it. One that has it already is fine. */
  rename(from: string, to: string): void {
    const index = this.takenBy(from);
    if (index !== undefined) this.#taken.set(index, to);
  }

  /** What the guest in a VM's slot may reach (NET4), instead of what it might before. Null: everything. */
  async restrict(vmId: string, egress: EgressPolicy | null): Promise<void> {
    const index = this.takenBy(vmId);
    if (index === undefined) throw new AgentError('not_running', 'the VM has no network slot');
    await this.#options.egress.enforce(index, vmId, egress ?? { allow: [], deny: [] });
  }

  /** The pool takes back the slot of a VM that is gone, and removes it. A VM that has none is fine. */
  async release(vmId: string): Promise<void> {
    const index = this.takenBy(vmId);
    if (index === undefined) return;
    await this.#options.egress.forget(index);
    const removed = this.#removals.then(() => this.#remove(index));
    this.#removals = removed;
    this.#removing.set(index, removed);
    this.#taken.delete(index);
    this.#refill();
  }

  /** Removes the ready slots; those of VMs stay. */
  async close(): Promise<void> {
    this.#closing.abort();
    await Promise.allSettled([this.#removals, ...this.#making.values()]);
    for (const index of [...this.#ready.keys()]) {
      this.#ready.delete(index);
      await slotRemove({ index });
    }
  }

  /** Tries until it is gone, or the pool is closed: then the next agent's start removes it. */
  async #remove(index: number): Promise<void> {
    const { signal } = this.#closing;
    for (;;) {
      try {
        await slotRemove({ index });
        break;
      } catch (err) {
        this.#options.log.warn({ err, slot: index }, 'a network slot could not be removed');
        if (signal.aborted) return;
        await sleep(REMOVAL_RETRY_MS, undefined, { signal }).catch(() => {});
      }
    }
    this.#removing.delete(index);
    this.#refill();
  }

  #refill(): void {
    while (!this.#closing.signal.aborted && this.#ready.size + this.#making.size < this.#options.ready) {
      const index = this.#lowestFree();
      if (index === undefined) return;
      const making = this.#make(index);
      this.#making.set(index, making);
      making.then(
        (slot) => {
          if (this.#making.delete(index)) this.#ready.set(index, slot);
        },
        (error) => {
          // Whoever needs a slot now makes it himself and reports the error; filling up goes on with the next release.
          this.#making.delete(index);
          this.#options.log.warn({ err: error, slot: index }, 'a network slot could not be made ahead of demand');
        },
      );
    }
  }

  async #make(index: number): Promise<NetworkSlot> {
    const spec = { index, tapOwnerUid: userOf(index) };
    try {
      return asSlot(await slotCreate(spec));
    } catch (error) {
      if ((error as { code?: string }).code !== 'slot_exists') throw error;
      await slotRemove({ index }); // a leftover: numbers in use are never given out twice
      return asSlot(await slotCreate(spec));
    }
  }

  #lowestFree(): number | undefined {
    for (let index = this.#options.first; index <= this.#options.last; index++) {
      if (![this.#taken, this.#ready, this.#making, this.#removing].some((those) => those.has(index))) return index;
    }
    return undefined;
  }
}

function asSlot(info: Awaited<ReturnType<typeof slotDescribe>>): NetworkSlot {
  return { index: info.index, hostIp: info.hostIp, guestIp: info.guestIp, namespace: namespaceOf(info.index) };
}

function lowest(indexes: Iterable<number>): number | undefined {
  let least: number | undefined;
  for (const index of indexes) if (least === undefined || index < least) least = index;
  return least;
}

function rejectedBy(signal: AbortSignal): Promise<never> {
  return new Promise((_, reject) => {
    const abort = () => reject(signal.reason);
    if (signal.aborted) abort();
    else signal.addEventListener('abort', abort, { once: true });
  });
}

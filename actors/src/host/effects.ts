import type { EffectDefinition, RetryPolicy } from '@wrenn/core';
import type { Evicted, EvictRefused, HostContext, Inventoried, InventoryFailed, LostTold } from './events.ts';

export type HostLostInput = { host_id: string };
/** `orphans`: those that were seen before, and since when. */
export type InventoryInput = { host_id: string; address: string; orphans: HostContext['orphans'] };
export type EvictInput = { host_id: string; force: boolean };

/** What the handlers of the control plane are given and return. */
export type HostEffects = {
  /** Tells HOST_LOST to every sandbox with this host_id. */
  'host.lost': { input: HostLostInput; result: LostTold };
  /**
   * `ListSandboxes`, then HOST_BACK to every sandbox of the host with what is true there. Orphans are reported, and ended
   * once they were known for longer than the grace time (H4).
   */
  'host.inventory': { input: InventoryInput; result: Inventoried | InventoryFailed };
  /**
   * Not forced: refused where a sandbox (running or paused) is still on it. Forced: destroys what can be destroyed there,
   * then HOST_DELETED to every sandbox of the host. Revokes the host's credentials before it returns EVICTED.
   */
  'host.evict': { input: EvictInput; result: Evicted | EvictRefused };
};

/** Telling is local work (messages in the database): it is repeated until it is done. */
const UNTIL_DONE: RetryPolicy = { attempts: null, firstDelayMs: 200, factor: 2, maxDelayMs: 10_000 };
/** The next sweep asks again anyway. */
const FEW: RetryPolicy = { attempts: 3, firstDelayMs: 1_000, factor: 2, maxDelayMs: 5_000 };

export const hostEffects: { [Name in keyof HostEffects]: EffectDefinition<HostContext> } = {
  'host.lost': {
    while: 'active.presence.unreachable.telling',
    input: ({ host_id }): HostLostInput => ({ host_id }),
    results: ['LOST_TOLD'],
    retry: UNTIL_DONE,
    gaveUp: (): LostTold => ({ type: 'LOST_TOLD' }),
  },
  'host.inventory': {
    while: 'active.inventory.listing',
    input: ({ host_id, address, orphans }): InventoryInput => ({ host_id, address: address ?? '', orphans }),
    results: ['INVENTORIED', 'INVENTORY_FAILED'],
    retry: FEW,
    gaveUp: ({ code, message }): InventoryFailed => ({ type: 'INVENTORY_FAILED', code, message }),
  },
  'host.evict': {
    while: 'active.duty.evicting',
    input: ({ host_id, delete_force }): EvictInput => ({ host_id, force: delete_force }),
    results: ['EVICTED', 'EVICT_REFUSED'],
    retry: UNTIL_DONE,
    gaveUp: (): EvictRefused => ({ type: 'EVICT_REFUSED', sandbox_ids: [] }),
  },
};

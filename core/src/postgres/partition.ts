import type { ActorRef } from '../definition.ts';

/**
 * Actors hash to this many partitions (rows of the first migration). Enough to share among a few replicas; each commit
 * locks the partitions of its batch, so that more of them cost more.
 */
export const PARTITIONS = 16;

/** FNV-1a over the address: the same in every replica, for ever. */
export function partitionOf({ kind, id }: ActorRef): number {
  let hash = 0x811c9dc5;
  for (const text of [kind, ':', id]) {
    for (let i = 0; i < text.length; i += 1) hash = Math.imul(hash ^ text.charCodeAt(i), 0x01000193);
  }
  return (hash ^ (hash >>> 15)) & (PARTITIONS - 1);
}

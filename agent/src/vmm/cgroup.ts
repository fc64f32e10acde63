import { cgroupList, cgroupRemove } from '@wrenn/addon';
import { cgroupOf, slotOfCgroup } from '../slots/names.ts';

/** Removes a VMM's control group; whoever is still in it ends. One that is not there is fine. */
export async function removeCgroup(slot: number): Promise<void> {
  await cgroupRemove(cgroupOf(slot), true);
}

/** Removes the control groups of an agent's slots that belong to no live VM (NET3's counterpart). */
export async function removeStaleCgroups(
  range: { first: number; last: number },
  live: ReadonlySet<number>,
): Promise<void> {
  for (const name of await cgroupList()) {
    const slot = slotOfCgroup(name);
    if (slot !== null && slot >= range.first && slot <= range.last && !live.has(slot)) await removeCgroup(slot);
  }
}

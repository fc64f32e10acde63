/** User ids of VMMs: one per slot, above any that a distribution gives out and below 65534 (nobody) for 9999 slots… */
const FIRST_USER = 50_000;

/** …so that one VMM that was broken out of owns nothing of another's (design.md §5). */
export function userOf(slot: number): number {
  return FIRST_USER + slot;
}

/** NET1: slots end at 9999. */
const LAST_USER = FIRST_USER + 9_999;

/** Whether a process with this user id is a VMM of ours: it cannot change its user, whatever it does to its memory. */
export function isVmmUser(user: number): boolean {
  return user > FIRST_USER && user <= LAST_USER;
}

export function namespaceOf(slot: number): string {
  return `wrenn-ns-${slot}`;
}

/** Slots are disjoint between the agents of one machine, hence so are these names. */
export function cgroupOf(slot: number): string {
  return `slot-${slot}`;
}

/** The slot of a control group of ours; null for others. */
export function slotOfCgroup(name: string): number | null {
  const digits = /^slot-([1-9]\d{0,3})$/.exec(name)?.[1];
  return digits === undefined ? null : Number(digits);
}

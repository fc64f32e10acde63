import type { HostHeartbeat } from '@wrenn/actors';

/** A heartbeat that says nothing new is not told to the actor more often than this: each one is a commit. */
const QUIET_MS = 25_000;

/** Remembers what each host said last, so that an eager agent costs no commits. */
export class Heartbeats {
  readonly #last = new Map<string, { readonly at: number; readonly said: string }>();

  /** Whether the host's actor should hear of it. */
  isNews(hostId: string, { at, ...beat }: Omit<HostHeartbeat, 'type'> & { readonly at: number }): boolean {
    const said = JSON.stringify([beat.store_id, beat.vms]); // cursor and load change all the time
    const last = this.#last.get(hostId);
    if (!beat.specs && last && last.said === said && at - last.at < QUIET_MS) return false;
    this.#last.set(hostId, { at, said });
    return true;
  }
}

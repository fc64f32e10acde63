import { assign, durableActions, setup } from '@wrenn/core';
import { stampOf, timeOf } from '../stamp.ts';
import type {
  CredentialsRenewed,
  EvictRefused,
  HostContext,
  HostDelete,
  HostHeartbeat,
  HostInput,
  HostRegistered,
  HostSetTags,
  Inventoried,
  Orphan,
  StampedHostEvent,
} from './events.ts';
import { status } from './project.ts';

/** Every deadline with a fixed length, in milliseconds (I3). */
export const delays = {
  /** A registration token is good for an hour (H1). */
  TOKEN_TTL: 3_600_000,
  /** Three heartbeats of 30 s are missing (H4). */
  HEARTBEAT_SILENCE: 90_000,
  /** Telling is local work; longer than this, it is opened anew. */
  TELL_REVIEW: 60_000,
  /** Told again while it lasts: a sandbox that heard an older "back" after it learns the truth. */
  TELL_AGAIN: 300_000,
  /** The safety net under the watch stream. */
  SWEEP_EVERY: 30_000,
  INVENTORY_DEADLINE: 60_000,
  /** Evicting waits for hosts and sandboxes; longer than this, it is opened anew. */
  EVICT_REVIEW: 600_000,
};

/** The time until a stamp of the context; a stamp that is not set is far away. */
const until = (at: number | undefined, event: unknown): number =>
  at === undefined ? delays.TOKEN_TTL : Math.max(0, at - timeOf(event));

const isSame = (one: Orphan, other: Orphan): boolean =>
  one.sandbox_id === other.sandbox_id && one.incarnation === other.incarnation;

type Flags = Partial<Pick<HostContext, 'lost' | 'draining' | 'evicting' | 'deleted'>>;

/** The context with these changes, and `status_since` when they change the status. */
function restated(context: HostContext, event: unknown, changes: Partial<HostContext>): Partial<HostContext> {
  const changed = status({ context }) !== status({ context: { ...context, ...changes } });
  return changed ? { ...changes, status_since: timeOf(event) } : changes;
}

export const base = setup({
  types: {} as { context: HostContext; events: StampedHostEvent; input: HostInput },
  guards: {
    /** The host was silent for too long: this is its return. */
    wasLost: ({ context }) => context.lost,
    isThere: ({ context }) => !context.lost,
    /** VMs that nobody owned were made to end. */
    endedOrphans: ({ event }) => (event as Inventoried).ended.length > 0,
    wasDraining: ({ context }) => context.draining,
    /** The first DELETE was not forced, this one is. */
    forcesNow: ({ context, event }) => (event as Partial<HostDelete>).force === true && !context.delete_force,
  },
  delays: {
    ...delays,
    RENEWAL_DUE: ({ context, event }) => until(context.credentials?.renew_at, event),
    EXPIRY: ({ context, event }) => until(context.credentials?.expires_at, event),
  },
  actions: {
    ...durableActions,
    /** Notes what the status follows from. */
    state: assign(({ context, event }, flags: Flags) => restated(context, event, flags)),
    noteRegistration: assign(({ context, event }) => {
      const { address, specs, credentials, store_id } = event as HostRegistered;
      const at = timeOf(event);
      const told = { address, specs, credentials, store_id: store_id ?? context.store_id };
      return restated(context, event, { ...told, registered_at: context.registered_at ?? at, last_heartbeat_at: at });
    }),
    noteHeartbeat: assign(({ context, event }) => {
      const { store_id, cursor, vms, load, specs = context.specs } = event as HostHeartbeat;
      return { store_id, cursor, vms, load, specs, last_heartbeat_at: timeOf(event) };
    }),
    noteCredentials: assign(({ event }) => ({ credentials: (event as CredentialsRenewed).credentials })),
    noteOrphans: assign(({ context, event }) => ({
      orphans: (event as Inventoried).orphans.map((orphan) => ({
        ...orphan,
        since: context.orphans.find((known) => isSame(known, orphan))?.since ?? timeOf(event),
      })),
    })),
    noteTags: assign(({ event }) => ({ tags: (event as HostSetTags).tags })),
    addDeleter: assign(({ context, event }) => ({
      delete_force: context.delete_force || (event as HostDelete).force === true,
      delete_waiters: [...context.delete_waiters, stampOf(event).id],
    })),
  },
});

/** Adds the actions that answer from the context; they come out as durable actions. */
export const hostSetup = base.extend({
  actions: {
    answerDeleted: base.enqueueActions(({ context, enqueue }) => {
      const answer = { ok: true, value: { host_id: context.host_id } } as const;
      for (const to of context.delete_waiters) enqueue({ type: 'answer', params: { to, answer } });
      enqueue.assign({ delete_waiters: [] });
    }),
    answerNotEmpty: base.enqueueActions(({ context, event, enqueue }) => {
      const { sandbox_ids } = event as EvictRefused;
      const message = 'sandboxes are still on the host';
      const answer = { ok: false, error: { code: 'host_not_empty', message, details: { sandbox_ids } } } as const;
      for (const to of context.delete_waiters) enqueue({ type: 'answer', params: { to, answer } });
      enqueue.assign({ delete_waiters: [], delete_force: false });
    }),
  },
});

import { assign, durableActions, type Json, setup } from '@wrenn/core';
import { stampOf, timeOf } from '../stamp.ts';
import { START_BUDGET_MS } from './effects.ts';
import type {
  Active,
  ReportOrigin,
  SandboxContext,
  SandboxDestroy,
  SandboxInput,
  SandboxPatch,
  SandboxStatus,
  StampedSandboxEvent,
  VmFacts,
} from './events.ts';
import { type ReasonCode, reasons } from './reasons.ts';

/** Tries on other hosts after the first one failed in a way that another may not. */
const MORE_HOSTS = 2;
/** A host that still says "starting" at the deadline gets this many more; its own budget ends a start long before. */
const MORE_TIME = 3;
/** SN7: activity is counted to 2 s, a finer timer would only ask more often. */
const IDLE_GRANULARITY_MS = 2_000;

/** Every deadline of the machine, in milliseconds (I3). */
export const delays = {
  PLACE_DEADLINE: 30_000,
  /** The host's budget counts from its admission; the rest is for the queue there. */
  START_DEADLINE: START_BUDGET_MS + 30_000,
  INSPECT_DEADLINE: 30_000,
  IDLE_CHECK_DEADLINE: 30_000,
  /** A destroy that takes longer is opened anew, so that none sleeps in a long back-off or parked. */
  STOP_REVIEW: 600_000,
};

/** Fields that only some events have; guards and actions are also asked about events that lack them. */
type Fields = Partial<VmFacts> & { host_id?: string; code?: string; message?: string };
const fields = (event: unknown): Fields => event as Fields;

/** Position in the agent's journal after a report: of the same store the newer one, of another store the report's. */
function seenAfter(context: SandboxContext, { store_id, cursor }: ReportOrigin): SandboxContext['seen'] {
  if (store_id === undefined) return context.seen;
  const before = context.seen?.store_id === store_id ? context.seen.cursor : 0;
  return { store_id, cursor: Math.max(before, cursor ?? 0) };
}

const sameHost = ({ context, event }: { context: SandboxContext; event: unknown }) =>
  context.host_id !== null && fields(event).host_id === context.host_id;
const sameIncarnation = ({ context, event }: { context: SandboxContext; event: unknown }) =>
  fields(event).incarnation === context.incarnation;

/**
 * `gone` proves a loss only if it comes from the journal that knew the sandbox, and not from before what it said last:
 * a host whose data folder is not mounted, or was restored from a backup, has lost nothing yet.
 */
function goneForSure({ context, event }: { context: SandboxContext; event: unknown }): boolean {
  const { status, store_id, cursor } = fields(event);
  if (status !== 'gone') return false;
  if (context.seen === null) return true;
  return store_id === context.seen.store_id && (cursor ?? 0) >= context.seen.cursor;
}

export const base = setup({
  types: {} as { context: SandboxContext; events: StampedSandboxEvent; input: SandboxInput },
  guards: {
    sameHost,
    sameIncarnation,
    /** Another host may succeed, and not too many have failed. */
    mayTryAnotherHost: ({ context, event }) =>
      fields(event).retryable === true && context.excluded_hosts.length < MORE_HOSTS,
    /** The host lives with this incarnation ready. */
    isReady: (args) => sameIncarnation(args) && fields(args.event).status === 'ready',
    isStarting: (args) => sameIncarnation(args) && fields(args.event).status === 'starting',
    mayTakeLonger: ({ context }) => context.extensions < MORE_TIME,
    /** It ended on the host for a reason that the host knows: it crashed, or its start failed. */
    hasFailed: (args) =>
      sameIncarnation(args) &&
      ['crashed', 'releasing', 'gone'].includes(fields(args.event).status ?? '') &&
      fields(args.event).code !== undefined,
    isGone: ({ event }) => fields(event).status === 'gone',
    goneForSure,
    /** It has come back with a journal that never knew the sandbox. */
    fromAnotherStore: ({ context, event }) =>
      context.seen !== null && fields(event).status === 'gone' && fields(event).store_id !== context.seen.store_id,
    hasTimeout: ({ context }) => context.spec.timeout_sec > 0,
    hasEnd: ({ context }) => context.spec.ends_at !== null,
    endsInError: ({ context }) => context.stop_as === 'error',
    /** Its host was away while it was stopping: what was tried then is tried again at once. */
    hostWasAway: ({ context }) => context.away,
    /** A start has failed before, which says more than that no other host is left. */
    hasFailedBefore: ({ context }) => context.excluded_hosts.length > 0,
    /** No host can hold anything of it. */
    holdsNothing: ({ context }) => context.released,
  },
  delays: {
    ...delays,
    /** What is left of `timeout_sec` since the last activity. */
    IDLE: ({ context, event }) => {
      const dueAt = (context.last_active_at ?? timeOf(event)) + context.spec.timeout_sec * 1000;
      return Math.max(IDLE_GRANULARITY_MS, dueAt - timeOf(event));
    },
    LIFETIME: ({ context, event }) => Math.max(0, (context.spec.ends_at ?? 0) - timeOf(event)),
  },
  actions: {
    ...durableActions,
    /** What the API shows, and since when. */
    enter: assign(({ context, event }, { status }: { status: SandboxStatus }) => ({
      status,
      status_since: context.status === status ? context.status_since : timeOf(event),
    })),
    /** A reason that the machine itself finds. */
    blame: assign((_, { code }: { code: ReasonCode }) => ({
      reason: { code, message: reasons[code].message },
      stop_as: reasons[code].end,
    })),
    /** The failure that the report tells of. */
    blameReport: assign(({ context, event }) => {
      const { code = 'unknown', message = 'no reason was given', console_tail } = fields(event);
      return { reason: { code, message }, console_tail: console_tail ?? context.console_tail, stop_as: 'error' };
    }),
    absolve: assign({ reason: null, stop_as: 'stopped' }),
    nextIncarnation: assign(({ context }) => ({ incarnation: context.incarnation + 1, extensions: 0 })),
    reserve: assign(({ event }) => {
      const { host_id = null, store_id } = fields(event);
      return { host_id, released: false, seen: store_id ? { store_id, cursor: 0 } : null };
    }),
    excludeHost: assign(({ context }) => ({
      excluded_hosts: context.host_id === null ? context.excluded_hosts : [...context.excluded_hosts, context.host_id],
      host_id: null,
      released: true,
    })),
    extend: assign(({ context }) => ({ extensions: context.extensions + 1 })),
    noteReport: assign(({ context, event }) => ({ seen: seenAfter(context, fields(event)) })),
    noteReady: assign(({ context, event }) => {
      const report = fields(event);
      return {
        host_ip: report.host_ip ?? context.host_ip,
        guest_ip: report.guest_ip ?? context.guest_ip,
        timings_ms: report.timings_ms ?? context.timings_ms,
        away: false,
        started_at: context.started_at ?? timeOf(event),
        last_active_at: context.last_active_at ?? timeOf(event),
        seen: seenAfter(context, report),
        reason: null,
      };
    }),
    noteReleased: assign({ released: true }),
    noteAway: assign({ away: true }),
    noteBack: assign({ away: false }),
    touch: assign(({ event }) => ({ last_active_at: timeOf(event) })),
    /** Durations cross machines, clock times do not. */
    touchAgo: assign(({ event }) => ({ last_active_at: timeOf(event) - ((event as Active).idle_ms ?? 0) })),
    applyPatch: assign(({ context, event }) => {
      const { type: _type, meta: _meta, ...changes } = event as SandboxPatch & { meta: unknown };
      return { spec: { ...context.spec, ...changes } };
    }),
    /** Somebody wants it gone, whatever it was stopping for. */
    stopForGood: assign({ stop_as: 'stopped' }),
    addDestroyer: assign(({ context, event }) => ({
      destroy_waiters: [...context.destroy_waiters, stampOf(event).id],
    })),
  },
});

/** Value of the answers to CREATE and DESTROY, and details of their errors. */
const place = ({ sandbox_id }: SandboxContext, status: SandboxStatus): Json => ({ sandbox_id, status });

const auditReason = (action: string, status: 'info' | 'warning' | 'error') =>
  base.enqueueActions(({ context, enqueue }) => {
    enqueue({ type: 'audit', params: { action, status, metadata: context.reason } });
  });

/** Adds the actions that decide from the context what is answered or written; they come out as durable actions. */
export const sandboxSetup = base.extend({
  actions: {
    /** `wait: false`: answered by the commit that accepts it. */
    answerUnwaited: base.enqueueActions(({ context, event, enqueue }) => {
      if (context.create_waiter !== null) return;
      const answer = { ok: true, value: place(context, 'pending') } as const;
      enqueue({ type: 'answer', params: { to: stampOf(event).id, answer } });
    }),
    answerCreated: base.enqueueActions(({ context, enqueue }) => {
      const answer = { ok: true, value: place(context, 'running') } as const;
      enqueue({ type: 'answer', params: { to: context.create_waiter, answer } });
      enqueue.assign({ create_waiter: null });
    }),
    answerNotCreated: base.enqueueActions(({ context, enqueue }) => {
      const { code, message } = context.reason ?? { code: 'destroyed', message: reasons.destroyed.message };
      const answer = { ok: false, error: { code, message, details: place(context, context.status) } } as const;
      enqueue({ type: 'answer', params: { to: context.create_waiter, answer } });
      enqueue.assign({ create_waiter: null });
    }),
    /** Takes the asker into the list of those who wait for the end, or answers who does not want to wait. */
    takeDestroyer: base.enqueueActions(({ context, event, enqueue }) => {
      if ((event as SandboxDestroy).wait !== false) enqueue('addDestroyer');
      else {
        const answer = { ok: true, value: place(context, 'stopping') } as const;
        enqueue({ type: 'answer', params: { to: stampOf(event).id, answer } });
      }
    }),
    /** Its host is away: whoever asks need not wait for it. */
    answerStopping: base.enqueueActions(({ context, event, enqueue }) => {
      const answer = { ok: true, value: place(context, 'stopping') } as const;
      enqueue({ type: 'answer', params: { to: stampOf(event).id, answer } });
    }),
    answerDestroyers: base.enqueueActions(({ context, enqueue }) => {
      const answer = { ok: true, value: place(context, context.status) } as const;
      for (const to of context.destroy_waiters) enqueue({ type: 'answer', params: { to, answer } });
      enqueue.assign({ destroy_waiters: [] });
    }),
    auditCreate: base.enqueueActions(({ context, enqueue }) => {
      const { template, vcpus, memory_mb } = context.spec;
      const metadata = { template, vcpus, memory_mb };
      enqueue({ type: 'audit', params: { action: 'sandbox.create', status: 'success', metadata } });
    }),
    auditAutoDestroy: auditReason('sandbox.auto_destroy', 'info'),
    auditMissing: auditReason('sandbox.missing', 'warning'),
    auditEnd: auditReason('sandbox.end', 'warning'),
    auditError: auditReason('sandbox.error', 'error'),
  },
});

import { assign, durableActions, setup } from '@wrenn/core';
import { stampOf, timeOf } from '../stamp.ts';
import { conditions, fields, seenAfter } from './conditions.ts';
import { delays } from './delays.ts';
import type {
  Active,
  PauseCause,
  SandboxContext,
  SandboxFork,
  SandboxInput,
  SandboxPatch,
  SandboxResume,
  SandboxSnapshot,
  SandboxStatus,
  StampedSandboxEvent,
} from './events.ts';
import { type ReasonCode, reasons } from './reasons.ts';

/** Why it rests, where a timer paused it. */
const PAUSED_BY = { request: null, idle: 'idle_timeout', lifetime: 'lifetime_ended' } as const;

/** The reason as people read it; `on` = nothing has ended, so that it says nothing of how the sandbox will end. */
const reasonOf = (code: ReasonCode) => ({ code, message: reasons[code].message });
const reported = (event: unknown) => {
  const { code = 'unknown', message = 'no reason was given' } = fields(event);
  return { code, message };
};

/** What the machine is made of: its types, guards, delays, and the actions that keep its context. */
export const base = setup({
  types: {} as { context: SandboxContext; events: StampedSandboxEvent; input: SandboxInput },
  guards: conditions,
  delays,
  actions: {
    ...durableActions,
    /** What the API shows, and since when. */
    enter: assign(({ context, event }, { status }: { status: SandboxStatus }) => ({
      status,
      status_since: context.status === status ? context.status_since : timeOf(event),
    })),
    /** A reason that the machine itself finds, and by which it ends. */
    blame: assign((_, { code }: { code: ReasonCode }) => ({ reason: reasonOf(code), stop_as: reasons[code].end })),
    /** The failure that the report tells of. */
    blameReport: assign(({ context, event }) => ({
      reason: reported(event),
      console_tail: fields(event).console_tail ?? context.console_tail,
      stop_as: 'error',
    })),
    /** Something did not come about, and it goes on as before. */
    regret: assign((_, { code }: { code: ReasonCode }) => ({ reason: reasonOf(code) })),
    regretReport: assign(({ event }) => ({ reason: reported(event) })),
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
    notePaused: assign(({ context, event }) => {
      const report = fields(event);
      const why = PAUSED_BY[context.pause_cause];
      return {
        paused_incarnation: context.incarnation,
        snapshot: report.snapshot ?? null,
        paused_at: timeOf(event),
        pause_failures: 0,
        host_ip: null,
        guest_ip: null,
        timings_ms: report.timings_ms ?? {},
        away: false,
        seen: seenAfter(context, report),
        reason: why === null ? null : reasonOf(why),
      };
    }),
    /** Somebody wants it paused, or a timer. */
    pauseBecause: assign((_, { cause }: { cause: PauseCause }) => ({ pause_cause: cause, extensions: 0 })),
    notePauseFailure: assign(({ context }) => ({
      pause_failures: context.pause_cause === 'request' ? context.pause_failures : context.pause_failures + 1,
    })),
    /** The next start is made from its snapshot. A lifetime that was over is not over again at once. */
    wake: assign(({ context, event }) => {
      const { ends_at, timeout_sec } = event as SandboxResume;
      const { spec } = context;
      const isOver = spec.ends_at !== null && spec.ends_at <= timeOf(event);
      return {
        incarnation: context.incarnation + 1,
        extensions: 0,
        spec: {
          ...spec,
          ends_at: ends_at === undefined ? (isOver ? null : spec.ends_at) : ends_at,
          timeout_sec: timeout_sec ?? spec.timeout_sec,
        },
      };
    }),
    noteReleased: assign({ released: true }),
    /** The host has let the files of its last pause go. */
    forgetPause: assign({ paused_incarnation: 0, snapshot: null }),
    /** The host holds nothing of its VM; of a snapshot that it was resumed from it does. */
    noteVmGone: assign(({ context }) => ({ released: context.paused_incarnation === 0 })),
    noteAway: assign(({ context }) => ({
      away: true,
      doing: context.status === 'missing' ? context.doing : context.status,
    })),
    noteBack: assign({ away: false }),
    touch: assign(({ event }) => ({ last_active_at: timeOf(event), pause_failures: 0 })),
    /** Durations cross machines, clock times do not. */
    touchAgo: assign(({ event }) => ({
      last_active_at: timeOf(event) - ((event as Active).idle_ms ?? 0),
      pause_failures: 0,
    })),
    applyPatch: assign(({ context, event }) => {
      const { type: _type, meta: _meta, ...changes } = event as SandboxPatch & { meta: unknown };
      return { spec: { ...context.spec, ...changes } };
    }),
    beginSnapshot: assign(({ event }) => {
      const { snapshot_id, name, created_by } = event as SandboxSnapshot;
      const waiter = stampOf(event).id;
      return { operation: { type: 'snapshotting', snapshot_id, name, created_by, children: [], waiter } };
    }),
    beginFork: assign(({ event }) => {
      const { snapshot_id, children, created_by } = event as SandboxFork;
      return {
        operation: { type: 'forking', snapshot_id, name: '', created_by, children, waiter: stampOf(event).id },
      };
    }),
    /** Somebody wants it gone, whatever it was stopping for. */
    stopForGood: assign({ stop_as: 'stopped' }),
    addDestroyer: assign(({ context, event }) => ({
      destroy_waiters: [...context.destroy_waiters, stampOf(event).id],
    })),
    addPauser: assign(({ context, event }) => ({ pause_waiters: [...context.pause_waiters, stampOf(event).id] })),
    /** What who joins has changed counts as well. */
    addResumer: assign(({ context, event }) => {
      const { ends_at = context.spec.ends_at, timeout_sec = context.spec.timeout_sec } = event as SandboxResume;
      return {
        resume_waiters: [...context.resume_waiters, stampOf(event).id],
        spec: { ...context.spec, ends_at, timeout_sec },
      };
    }),
  },
});

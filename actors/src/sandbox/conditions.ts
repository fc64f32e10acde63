import type { ReportOrigin, SandboxContext, SandboxResume, VmFacts } from './events.ts';

/** Tries on other hosts after the first one failed in a way that another may not. */
const MORE_HOSTS = 2;
/** A host that still says "starting" at the deadline gets this many more; its own budget ends a start long before. */
const MORE_TIME = 3;
/** SN7: "if pausing is impossible it is destroyed". */
const MOST_PAUSE_FAILURES = 3;

/** Fields that only some events have; guards and actions are also asked about events that lack them. */
export type Fields = Partial<VmFacts> & { host_id?: string; code?: string; message?: string };
export const fields = (event: unknown): Fields => event as Fields;

type Args = { context: SandboxContext; event: unknown };

/** Position in the agent's journal after a report: of the same store the newer one, of another store the report's. */
export function seenAfter(context: SandboxContext, { store_id, cursor }: ReportOrigin): SandboxContext['seen'] {
  if (store_id === undefined) return context.seen;
  const before = context.seen?.store_id === store_id ? context.seen.cursor : 0;
  return { store_id, cursor: Math.max(before, cursor ?? 0) };
}

const sameHost = ({ context, event }: Args) => context.host_id !== null && fields(event).host_id === context.host_id;
const sameIncarnation = ({ context, event }: Args) => fields(event).incarnation === context.incarnation;
/** About the incarnation that is, or was last, paused. */
const samePaused = ({ context, event }: Args) =>
  context.paused_incarnation > 0 && fields(event).incarnation === context.paused_incarnation;
const saysPaused = ({ event }: Args) => fields(event).status === 'paused';

/**
 * `gone` proves a loss only if it comes from the journal that knew the sandbox, and not from before what it said last:
 * a host whose data folder is not mounted, or was restored from a backup, has lost nothing yet.
 */
function goneForSure({ context, event }: Args): boolean {
  const { status, store_id, cursor } = fields(event);
  if (status !== 'gone') return false;
  if (context.seen === null) return true;
  return store_id === context.seen.store_id && (cursor ?? 0) >= context.seen.cursor;
}

/** Guards of the machine. */
export const conditions = {
  sameHost,
  sameIncarnation,
  samePaused,
  goneForSure,
  /** Another host may succeed, not too many have failed, and what it starts from is there too. */
  mayTryAnotherHost: ({ context, event }: Args) =>
    fields(event).retryable === true && context.excluded_hosts.length < MORE_HOSTS && context.spec.snapshot === null,
  /** The host lives with this incarnation ready. */
  isReady: (args: Args) => sameIncarnation(args) && fields(args.event).status === 'ready',
  isStarting: (args: Args) => sameIncarnation(args) && fields(args.event).status === 'starting',
  /** On its way to being paused, or to an end of which the next report tells. */
  isReleasing: (args: Args) =>
    sameIncarnation(args) && fields(args.event).status === 'releasing' && fields(args.event).code === undefined,
  isPaused: (args: Args) => sameIncarnation(args) && saysPaused(args),
  /** The host has nothing newer than the snapshot from which it was last resumed. */
  isEarlierPaused: (args: Args) => !sameIncarnation(args) && samePaused(args) && saysPaused(args),
  mayTakeLonger: ({ context }: Args) => context.extensions < MORE_TIME,
  /** It ended on the host for a reason that the host knows: it crashed, or its start failed. */
  hasFailed: (args: Args) =>
    sameIncarnation(args) &&
    ['crashed', 'releasing', 'gone'].includes(fields(args.event).status ?? '') &&
    fields(args.event).code !== undefined,
  isUnexplained: ({ event }: Args) => fields(event).code === undefined,
  isGone: ({ event }: Args) => fields(event).status === 'gone',
  /** It has come back with a journal that never knew the sandbox. */
  fromAnotherStore: ({ context, event }: Args) =>
    context.seen !== null && fields(event).status === 'gone' && fields(event).store_id !== context.seen.store_id,
  /** The files of its snapshot are not what was written: it can never be resumed. */
  isDamaged: ({ event }: Args) => fields(event).code === 'snapshot_damaged',
  hasTimeout: ({ context }: Args) => context.spec.timeout_sec > 0,
  pausesOnTimeout: ({ context }: Args) => context.spec.on_timeout === 'pause',
  hasEnd: ({ context }: Args) => context.spec.ends_at !== null,
  pausesAtEnd: ({ context }: Args) => context.spec.on_end === 'pause',
  /** One that is paused already has nothing to do at such an end. */
  endsByKill: ({ context }: Args) => context.spec.ends_at !== null && context.spec.on_end === 'kill',
  /** A snapshot or a fork is being made of it. */
  isBusy: ({ context }: Args) => context.operation !== null,
  isFree: ({ context }: Args) => context.operation === null,
  byTimer: ({ context }: Args) => context.pause_cause !== 'request',
  hasFailedOften: ({ context }: Args) =>
    context.pause_cause !== 'request' && context.pause_failures + 1 >= MOST_PAUSE_FAILURES,
  /** Somebody waits for it to run again, although it is only being paused. */
  isWanted: ({ context }: Args) => context.resume_waiters.length > 0,
  joins: ({ event }: Args) => (event as Partial<SandboxResume>).join === true,
  /** Its VM is, or was when it went missing, being made from its snapshot, which is whole until then. */
  wasResuming: ({ context }: Args) => context.doing === 'resuming',
  wasNotResuming: ({ context }: Args) => context.doing !== 'resuming',
  endsInError: ({ context }: Args) => context.stop_as === 'error',
  /** Its host was lost and has not come back. */
  isAway: ({ context }: Args) => context.away,
  /** A start has failed before, which says more than that no other host is left. */
  hasFailedBefore: ({ context }: Args) => context.excluded_hosts.length > 0,
  /** No host can hold anything of it. */
  holdsNothing: ({ context }: Args) => context.released,
};

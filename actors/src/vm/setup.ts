import { assign, durableActions, type Json, setup } from '@wrenn/core';
import { stampOf, timeOf } from '../stamp.ts';
import type {
  GuestReady,
  StampedVmEvent,
  StepFailed,
  VmAdmitted,
  VmBranch,
  VmClaimed,
  VmContext,
  VmInput,
  VmmExited,
  VmmStarted,
  VmPublished,
  VmRootfsReady,
  VmSlotReady,
  VmUndo,
} from './events.ts';
import { reportOf } from './project.ts';

/** Failures that the machine itself finds. */
const failures = {
  admission_timeout: { message: 'the host had no room to boot it in time', retryable: true },
  start_timeout: { message: 'it did not become ready in time', retryable: true },
  guest_lost: { message: 'its guest could not be made to run on', retryable: false },
} as const;
type FailureCode = keyof typeof failures;

/** Why a pause or a branch is given up, where the machine itself finds it. */
const setbacks = {
  timeout: 'it took too long',
  publish_timeout: 'it took too long',
  interrupted: 'the agent was restarted in the middle',
} as const;
type SetbackCode = keyof typeof setbacks;

/** Every deadline with a fixed length, in milliseconds (I3). */
export const delays = {
  /** Many cold boots may be ahead of it, each of a few seconds. */
  QUEUE_DEADLINE: 300_000,
  /** `crashed` is committed and reported, then left at once. */
  AT_ONCE: 0,
  /** An undo that takes longer is opened anew, so that none sleeps in a long back-off or parked. */
  UNDO_REVIEW: 120_000,
  /** A guest answers a freeze within 2 s, or is not asked any more; its files may take a while to be written. */
  QUIESCE_DEADLINE: 30_000,
  /** Continuing takes milliseconds; a guest on a very busy machine gets this. */
  CONTINUE_DEADLINE: 30_000,
};

/** Saving and publishing write the guest's memory, on a slow disk at 100 MB/s, and merge its disk. */
const SAVE_BASE_MS = 60_000;
const SAVE_MS_PER_MB = 10;

/** What a start makes, in this order; declared before its first step, so that the steps need no commit of their own to be safe. */
const START_UNDO: readonly VmUndo[] = ['unslot', 'unroot', 'kill'];

/** What is undone next: the last one that was begun, but for the files of a snapshot. */
export function nextUndo({ undo, snapshot }: VmContext): VmUndo | undefined {
  return undo.findLast((one) => snapshot === null || one !== 'unroot');
}

const epochAfter = (context: VmContext, event: unknown): number =>
  Math.max(context.epoch, (event as { epoch?: number }).epoch ?? 0);

/** What the process left when it ended, as a reason. */
function exitOf({ code, signal }: VmmExited): string {
  return signal === null ? `the VMM ended with code ${code ?? 'unknown'}` : `the VMM was ended by ${signal}`;
}

export const base = setup({
  types: {} as { context: VmContext; events: StampedVmEvent; input: VmInput },
  guards: {
    /** It was brought into being by DESTROY: the host never knew this incarnation, and buries it. */
    isTombstone: ({ context }) => context.spec === null,
    isClaim: ({ context }) => context.claim !== null,
    isRestore: ({ context }) => context.origin !== null,
    isBoot: ({ context }) => context.purpose === 'boot',
    isWaiting: ({ context }) => context.purpose === 'waiting',
    isWarm: ({ context }) => context.purpose === 'warm',
    isPause: ({ context }) => context.branch === null && context.purpose === 'sandbox',
    isBranch: ({ context }) => context.branch !== null,
    /** A pause was saved, and given up only because publishing took too long. */
    isSaved: ({ context }) => context.setback?.code === 'publish_timeout',
    onlyFilesAreLeft: ({ context }) => context.snapshot !== null && nextUndo(context) === undefined,
    nothingToUndo: ({ context }) => context.undo.length === 0,
    killIsNext: ({ context }) => nextUndo(context) === 'kill',
    unrootIsNext: ({ context }) => nextUndo(context) === 'unroot',
    unslotIsNext: ({ context }) => nextUndo(context) === 'unslot',
  },
  delays: {
    ...delays,
    /** What is left of `budget_ms` since the admission. */
    START_DEADLINE: ({ context, event }) =>
      Math.max(0, (context.admitted_at ?? timeOf(event)) + context.budget_ms - timeOf(event)),
    SAVE_DEADLINE: ({ context }) => SAVE_BASE_MS + (context.spec?.memory_mb ?? 0) * SAVE_MS_PER_MB,
  },
  actions: {
    ...durableActions,
    /** Durable before the first step is begun, and kept until each undo is done. */
    willUndoStart: assign({ undo: [...START_UNDO] }),
    noteUndone: assign(({ context }, { step }: { step: VmUndo }) => ({
      undo: context.undo.filter((one) => one !== step),
    })),
    noteAdmitted: assign(({ event }) => ({ admitted_at: timeOf(event), origin: (event as VmAdmitted).origin })),
    /** A claim is its own admission: what it takes over exists. */
    noteClaiming: assign(({ event }) => ({ admitted_at: timeOf(event), undo: [...START_UNDO] })),
    noteClaimed: assign(({ event }) => {
      const { origin, slot, disk, vmm } = event as VmClaimed;
      return { origin, slot, disk, vmm };
    }),
    dropClaim: assign({ claim: null, admitted_at: null, undo: [] }),
    /** Another has it all from now on. */
    handOver: assign({ undo: [] }),
    noteSlot: assign(({ event }) => {
      const { index, host_ip, guest_ip, namespace } = event as VmSlotReady;
      return { slot: { index, host_ip, guest_ip, namespace } };
    }),
    noteDisk: assign(({ event }) => ({ disk: (event as VmRootfsReady).disk })),
    noteVmm: assign(({ event }) => {
      const { pid, start_time } = event as VmmStarted;
      return { vmm: { pid, start_time } };
    }),
    noteTimings: assign(({ context, event }) => ({
      timings_ms: { ...context.timings_ms, ...(event as GuestReady).timings_ms },
    })),
    noteBranch: assign(({ event }) => {
      const { snapshot_id, children } = event as VmBranch;
      return { branch: { snapshot_id, children }, made: null };
    }),
    noteMade: assign(({ event }) => ({ made: (event as VmPublished).snapshot })),
    noteSnapshot: assign(({ event }) => ({ snapshot: (event as VmPublished).snapshot })),
    dropSnapshot: assign({ snapshot: null }),
    noteSetback: assign(({ event }) => {
      const { code, message } = event as StepFailed;
      return { setback: { code, message } };
    }),
    setback: assign((_, { code }: { code: SetbackCode }) => ({ setback: { code, message: setbacks[code] } })),
    /** What can be found of a paused one is in its files. */
    forgetRuntime: assign({ slot: null, vmm: null, branch: null, setback: null, spec: null }),
    noteAdopted: assign(({ context }) => ({ adoptions: context.adoptions + 1 })),
    noteExit: assign(({ event }) => {
      const exit = event as VmmExited;
      return {
        failure: { code: 'vmm_exited', message: exitOf(exit), retryable: false },
        console_tail: exit.console_tail ?? null,
      };
    }),
    /** The VMM ended before the guest was ready: another host may do better. */
    noteEarlyExit: assign(({ event }) => {
      const exit = event as VmmExited;
      return {
        failure: { code: 'vmm_exited', message: exitOf(exit), retryable: true },
        console_tail: exit.console_tail ?? null,
      };
    }),
    noteStepFailed: assign(({ event }) => {
      const { code, message, retryable } = event as StepFailed;
      return { failure: { code, message, retryable } };
    }),
    blame: assign((_, { code }: { code: FailureCode }) => ({ failure: { code, ...failures[code] } })),
    addCreator: assign(({ context, event }) => ({
      epoch: epochAfter(context, event),
      create_waiters: [...context.create_waiters, stampOf(event).id],
    })),
    addDestroyer: assign(({ context, event }) => ({
      epoch: epochAfter(context, event),
      destroy_waiters: [...context.destroy_waiters, stampOf(event).id],
    })),
    addPauser: assign(({ context, event }) => ({
      epoch: epochAfter(context, event),
      pause_waiters: [...context.pause_waiters, stampOf(event).id],
    })),
    addBrancher: assign(({ context, event }) => ({
      epoch: epochAfter(context, event),
      branch_waiters: [...context.branch_waiters, stampOf(event).id],
    })),
    /** A grave needs no secrets, and stays small. */
    forgetSpec: assign({ spec: null }),
  },
});

/** Adds the actions that answer from the context; they come out as durable actions. */
export const vmSetup = base.extend({
  actions: {
    answerCreators: base.enqueueActions(({ context, enqueue }) => {
      const answer = { ok: true, value: reportOf(context, 'ready') } as const;
      for (const to of context.create_waiters) enqueue({ type: 'answer', params: { to, answer } });
      enqueue.assign({ create_waiters: [] });
    }),
    answerReady: base.enqueueActions(({ context, event, enqueue }) => {
      const answer = { ok: true, value: reportOf(context, 'ready') } as const;
      enqueue({ type: 'answer', params: { to: stampOf(event).id, answer } });
    }),
    /** A pause or branch is over and the guest runs: the reason why it failed, or what was made. */
    answerOperation: base.enqueueActions(({ context, enqueue }) => {
      const { setback, made, pause_waiters, branch_waiters } = context;
      const report = reportOf(context, 'ready') as Json;
      const failure = (code: string) => ({
        ok: false as const,
        error: { code, message: setback?.message ?? 'it failed', details: { reason: setback?.code ?? null, report } },
      });
      for (const to of pause_waiters) enqueue({ type: 'answer', params: { to, answer: failure('pause_failed') } });
      const snapshot = { ...reportOf(context, 'ready'), ...(made && { snapshot: made }) } as Json;
      const branched = setback === null ? { ok: true as const, value: snapshot } : failure('snapshot_failed');
      for (const to of branch_waiters) enqueue({ type: 'answer', params: { to, answer: branched } });
      enqueue.assign({ pause_waiters: [], branch_waiters: [], branch: null, setback: null });
    }),
    answerPaused: base.enqueueActions(({ context, enqueue }) => {
      const answer = { ok: true, value: reportOf(context, 'paused') as Json } as const;
      for (const to of context.pause_waiters) enqueue({ type: 'answer', params: { to, answer } });
      enqueue.assign({ pause_waiters: [] });
    }),
    /** It was paused already: the same fact. */
    answerPausedNow: base.enqueueActions(({ context, event, enqueue }) => {
      const answer = { ok: true, value: reportOf(context, 'paused') as Json } as const;
      enqueue({ type: 'answer', params: { to: stampOf(event).id, answer } });
    }),
    /** The incarnation that this one was resumed from is not needed any more. */
    supersede: base.enqueueActions(({ context, enqueue }) => {
      if (context.source.kind !== 'paused') return;
      const to = { kind: 'vm', id: `${context.sandbox_id}.${context.source.incarnation}` };
      enqueue({ type: 'send', params: { to, event: { type: 'SUPERSEDED' } } });
    }),
    answerGone: base.enqueueActions(({ context, enqueue }) => {
      const { code, message } = context.failure ?? {
        code: 'destroyed',
        message: 'it was destroyed before that was done',
      };
      const report = reportOf(context, 'gone');
      const failed = { ok: false, error: { code, message, details: report as Json } } as const;
      const made = { ...report, ...(context.made && { snapshot: context.made }) } as Json;
      const isMade = context.purpose === 'boot' && context.made !== null;
      const created = isMade ? ({ ok: true, value: made } as const) : failed;
      for (const to of context.create_waiters) enqueue({ type: 'answer', params: { to, answer: created } });
      for (const to of [...context.pause_waiters, ...context.branch_waiters]) {
        enqueue({ type: 'answer', params: { to, answer: failed } });
      }
      const released = { ok: true, value: report as Json } as const;
      for (const to of context.destroy_waiters) enqueue({ type: 'answer', params: { to, answer: released } });
      enqueue.assign({ create_waiters: [], destroy_waiters: [], pause_waiters: [], branch_waiters: [] });
    }),
  },
});

import { assign, durableActions, type Json, setup } from '@wrenn/core';
import { stampOf, timeOf } from '../stamp.ts';
import type {
  GuestReady,
  StampedVmEvent,
  StepFailed,
  Undone,
  VmContext,
  VmInput,
  VmmExited,
  VmmStarted,
  VmRootfsReady,
  VmSlotReady,
  VmUndo,
} from './events.ts';
import { reportOf } from './project.ts';

/** Failures that the machine itself finds. */
const failures = {
  admission_timeout: { message: 'the host had no room to boot it in time', retryable: true },
  start_timeout: { message: 'it did not become ready in time', retryable: true },
} as const;
type FailureCode = keyof typeof failures;

/** Every deadline with a fixed length, in milliseconds (I3). */
export const delays = {
  /** Many cold boots may be ahead of it, each of a few seconds. */
  QUEUE_DEADLINE: 300_000,
  /** `crashed` is committed and reported, then left at once. */
  AT_ONCE: 0,
  /** An undo that takes longer is opened anew, so that none sleeps in a long back-off or parked. */
  UNDO_REVIEW: 120_000,
};

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
    nothingToUndo: ({ context }) => context.undo.length === 0,
    killIsNext: ({ context }) => context.undo.at(-1) === 'kill',
    unrootIsNext: ({ context }) => context.undo.at(-1) === 'unroot',
    unslotIsNext: ({ context }) => context.undo.at(-1) === 'unslot',
    isNextUndo: ({ context, event }) => (event as Partial<Undone>).step === context.undo.at(-1),
  },
  delays: {
    ...delays,
    /** What is left of `budget_ms` since the admission. */
    START_DEADLINE: ({ context, event }) =>
      Math.max(0, (context.admitted_at ?? timeOf(event)) + context.budget_ms - timeOf(event)),
  },
  actions: {
    ...durableActions,
    /** Durable before the step is begun, and kept until its undo is done. */
    willUndo: assign(({ context }, { undo }: { undo: VmUndo }) => ({ undo: [...context.undo, undo] })),
    noteUndone: assign(({ context }) => ({ undo: context.undo.slice(0, -1) })),
    noteAdmitted: assign(({ event }) => ({ admitted_at: timeOf(event) })),
    noteSlot: assign(({ event }) => {
      const { index, host_ip, guest_ip, namespace } = event as VmSlotReady;
      return { slot: { index, host_ip, guest_ip, namespace } };
    }),
    noteDisk: assign(({ event }) => ({ disk: (event as VmRootfsReady).disk })),
    noteVmm: assign(({ event }) => {
      const { pid, start_time } = event as VmmStarted;
      return { vmm: { pid, start_time } };
    }),
    noteReady: assign(({ context, event }) => ({
      timings_ms: { ...context.timings_ms, ...(event as GuestReady).timings_ms },
    })),
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
    answerGone: base.enqueueActions(({ context, enqueue }) => {
      const { code, message } = context.failure ?? {
        code: 'destroyed',
        message: 'it was destroyed before it was ready',
      };
      const report = reportOf(context, 'gone');
      const failed = { ok: false, error: { code, message, details: report as Json } } as const;
      for (const to of context.create_waiters) enqueue({ type: 'answer', params: { to, answer: failed } });
      const released = { ok: true, value: report as Json } as const;
      for (const to of context.destroy_waiters) enqueue({ type: 'answer', params: { to, answer: released } });
      enqueue.assign({ create_waiters: [], destroy_waiters: [] });
    }),
  },
});

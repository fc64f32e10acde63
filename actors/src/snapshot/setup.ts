import { assign, durableActions, setup } from '@wrenn/core';
import type { SandboxCreate } from '../sandbox/events.ts';
import { stampOf, timeOf } from '../stamp.ts';
import type {
  ChildSettled,
  ForkedChild,
  SnapshotContext,
  SnapshotCreate,
  SnapshotInput,
  StampedSnapshotEvent,
} from './events.ts';

/** Every deadline of the machine, in milliseconds (I3). */
export const delays = {
  /** The sandbox's message is under way already; this only answers who waits for it. */
  EXPECTED_DEADLINE: 60_000,
  /** A child is placed and started, or failed, long before (its own deadlines): this is for one that was lost. */
  CHILDREN_DEADLINE: 1_800_000,
  /** Longer than a host works on a snapshot that nobody waits for any more. */
  LINGER: 600_000,
  /** A deletion that takes longer is opened anew, so that none sleeps in a long back-off or parked. */
  DELETE_REVIEW: 600_000,
};

const TOO_LATE = { code: 'timeout', message: 'it has not told how its start came out' };

/** What a CREATE says, as context. */
export const created = (event: SnapshotCreate, at: number) => ({
  team_id: event.team_id,
  purpose: event.purpose,
  name: event.name,
  sandbox_id: event.sandbox_id,
  host_id: event.host_id,
  created_by: event.created_by,
  created_at: at,
  vcpus: event.vcpus,
  memory_mb: event.memory_mb,
  disk_size_mb: event.disk_size_mb,
  info: event.info,
  children: event.children.map(({ sandbox_id }) => ({ sandbox_id, settled: false, error: null })),
});

const noted = (children: readonly ForkedChild[], { sandbox_id, error }: ChildSettled): ForkedChild[] =>
  children.map((child) => (child.sandbox_id === sandbox_id ? { sandbox_id, settled: true, error } : child));

export const base = setup({
  types: {} as { context: SnapshotContext; events: StampedSnapshotEvent; input: SnapshotInput },
  guards: {
    /** Somebody waits for it, and the sandbox's message has not come yet. */
    isExpected: ({ context }) => context.host_id === '',
    /** The sandbox does not know whether its host will make it: it was given up on the way. */
    mayStillCome: ({ context }) => context.info === null && !context.lingered,
    wasMade: ({ context }) => context.info !== null,
    isFork: ({ context }) => context.info !== null && context.purpose === 'fork',
    /** With this one all children have told. */
    isLast: ({ context, event }) =>
      noted(context.children, event as unknown as ChildSettled).every(({ settled }) => settled),
    sameHost: ({ context, event }) => (event as { host_id?: string }).host_id === context.host_id,
  },
  delays,
  actions: {
    ...durableActions,
    noteCreated: assign(({ event }) => created(event as unknown as SnapshotCreate, timeOf(event))),
    noteChild: assign(({ context, event }) => ({
      children: noted(context.children, event as unknown as ChildSettled),
    })),
    /** Children that have not told are told of as failed. */
    giveUpChildren: assign(({ context }) => ({
      children: context.children.map((child) => (child.settled ? child : { ...child, settled: true, error: TOO_LATE })),
    })),
    noteLingered: assign({ lingered: true }),
    addWaiter: assign(({ context, event }) => ({ waiters: [...context.waiters, stampOf(event).id] })),
  },
});

/** Adds the actions that decide from the context what is answered or told; they come out as durable actions. */
export const snapshotSetup = base.extend({
  actions: {
    createChildren: base.enqueueActions(({ event, enqueue }) => {
      // In its first transition the event is in the machine's input.
      const { input } = event as unknown as { input?: SnapshotInput };
      const { children } = (input?.event ?? event) as SnapshotCreate;
      for (const { sandbox_id, spec } of children) {
        const create: SandboxCreate = { type: 'CREATE', spec, wait: false };
        enqueue({ type: 'send', params: { to: { kind: 'sandbox', id: sandbox_id }, event: create } });
      }
    }),
    answerWaiters: base.enqueueActions(({ context, enqueue }) => {
      const answer = { ok: true, value: { children: context.children } } as const;
      for (const to of context.waiters) enqueue({ type: 'answer', params: { to, answer } });
      enqueue.assign({ waiters: [] });
    }),
    answerLate: base.enqueueActions(({ context, enqueue }) => {
      const error = { code: 'timeout', message: 'the sandbox has not told of it in time' };
      for (const to of context.waiters) enqueue({ type: 'answer', params: { to, answer: { ok: false, error } } });
      enqueue.assign({ waiters: [] });
    }),
    answerAtOnce: base.enqueueActions(({ context, event, enqueue }) => {
      const answer = { ok: true, value: { children: context.children } } as const;
      enqueue({ type: 'answer', params: { to: stampOf(event).id, answer } });
    }),
    auditDelete: base.enqueueActions(({ context, enqueue }) => {
      const { name, snapshot_id } = context;
      enqueue({
        type: 'audit',
        params: { action: 'snapshot.delete', status: 'success', metadata: { name, snapshot_id } },
      });
    }),
  },
});

import type { Answer, DomainEvent, Json } from '@wrenn/core';
import type { SnapshotCreate } from '../snapshot/events.ts';
import { stampOf } from '../stamp.ts';
import type {
  Branched,
  BranchFailed,
  Operation,
  Reason,
  SandboxContext,
  SandboxDestroy,
  SandboxStatus,
} from './events.ts';
import { reasons } from './reasons.ts';
import { base } from './setup.ts';

/** Value of the answers to commands, and details of their errors. */
const place = ({ sandbox_id }: SandboxContext, status: SandboxStatus): Json => ({ sandbox_id, status });
const done = (context: SandboxContext, status: SandboxStatus): Answer => ({ ok: true, value: place(context, status) });
const failed = (context: SandboxContext, fallback: Reason): Answer => {
  const { code, message } = context.reason ?? fallback;
  return { ok: false, error: { code, message, details: place(context, context.status) } };
};
const DESTROYED: Reason = { code: 'destroyed', message: reasons.destroyed.message };
const NOT_PAUSED: Reason = { code: 'pause_failed', message: 'it could not be paused' };

const auditReason = (action: string, status: 'info' | 'warning' | 'error') =>
  base.enqueueActions(({ context, enqueue }) => {
    enqueue({ type: 'audit', params: { action, status, metadata: context.reason } });
  });

/** Adds the actions that decide from the context what is answered, told or written; they come out as durable actions. */
export const sandboxSetup = base.extend({
  actions: {
    /** `wait: false`: answered by the commit that accepts it. */
    answerUnwaited: base.enqueueActions(({ context, event, enqueue }) => {
      if (context.create_waiter !== null) return;
      enqueue({ type: 'answer', params: { to: stampOf(event).id, answer: done(context, 'pending') } });
    }),
    answerCreated: base.enqueueActions(({ context, enqueue }) => {
      enqueue({ type: 'answer', params: { to: context.create_waiter, answer: done(context, 'running') } });
      enqueue.assign({ create_waiter: null });
    }),
    answerNotCreated: base.enqueueActions(({ context, enqueue }) => {
      enqueue({ type: 'answer', params: { to: context.create_waiter, answer: failed(context, DESTROYED) } });
      enqueue.assign({ create_waiter: null });
    }),
    answerPaused: base.enqueueActions(({ context, enqueue }) => {
      const answer = done(context, 'paused');
      for (const to of context.pause_waiters) enqueue({ type: 'answer', params: { to, answer } });
      enqueue.assign({ pause_waiters: [] });
    }),
    answerNotPaused: base.enqueueActions(({ context, enqueue }) => {
      const answer = failed(context, NOT_PAUSED);
      for (const to of context.pause_waiters) enqueue({ type: 'answer', params: { to, answer } });
      enqueue.assign({ pause_waiters: [] });
    }),
    answerResumed: base.enqueueActions(({ context, enqueue }) => {
      const answer = done(context, 'running');
      for (const to of context.resume_waiters) enqueue({ type: 'answer', params: { to, answer } });
      enqueue.assign({ resume_waiters: [] });
    }),
    answerNotResumed: base.enqueueActions(({ context, enqueue }) => {
      const answer = failed(context, DESTROYED);
      for (const to of context.resume_waiters) enqueue({ type: 'answer', params: { to, answer } });
      enqueue.assign({ resume_waiters: [] });
    }),
    /** It runs already, or nobody need wait for it to. */
    answerRunning: base.enqueueActions(({ context, event, enqueue }) => {
      enqueue({ type: 'answer', params: { to: stampOf(event).id, answer: done(context, 'running') } });
    }),
    /** Takes the asker into the list of those who wait for the end, or answers who does not want to wait. */
    takeDestroyer: base.enqueueActions(({ context, event, enqueue }) => {
      if ((event as SandboxDestroy).wait !== false) enqueue('addDestroyer');
      else enqueue({ type: 'answer', params: { to: stampOf(event).id, answer: done(context, 'stopping') } });
    }),
    /** Its host is away: whoever asks need not wait for it. */
    answerStopping: base.enqueueActions(({ context, event, enqueue }) => {
      enqueue({ type: 'answer', params: { to: stampOf(event).id, answer: done(context, 'stopping') } });
    }),
    answerDestroyers: base.enqueueActions(({ context, enqueue }) => {
      const answer = done(context, context.status);
      for (const to of context.destroy_waiters) enqueue({ type: 'answer', params: { to, answer } });
      enqueue.assign({ destroy_waiters: [] });
    }),
    /** Tells the fork that made it how its start came out, once. */
    settle: base.enqueueActions(({ context, enqueue }) => {
      const { spec, sandbox_id, status, reason, settled } = context;
      if (settled || spec.snapshot?.ephemeral !== true) return;
      const error = status === 'running' ? null : (reason ?? DESTROYED);
      const event: DomainEvent = { type: 'CHILD_SETTLED', sandbox_id, error };
      enqueue({ type: 'send', params: { to: { kind: 'snapshot', id: spec.snapshot.id }, event } });
      enqueue.assign({ settled: true });
    }),
    /**
     * A snapshot or fork is over, however it came to be over: the event by which its state is left says how. Its actor
     * comes into being either way, since also of a failure the host may have something that must be deleted.
     */
    endOperation: base.enqueueActions(({ context, event, enqueue }) => {
      const { operation } = context;
      if (operation === null) return;
      const result = event as unknown as Branched | BranchFailed | { type: string };
      const snapshot = result.type === 'BRANCHED' ? (result as Branched).snapshot : null;
      const error = snapshot === null ? whyNot(result) : null;
      const create = snapshotCreate(context, operation, snapshot);
      enqueue({ type: 'send', params: { to: { kind: 'snapshot', id: operation.snapshot_id }, event: create } });
      const { snapshot_id, waiter } = operation;
      const details = place(context, context.status);
      const answer: Answer = error ? { ok: false, error: { ...error, details } } : { ok: true, value: { snapshot_id } };
      enqueue({ type: 'answer', params: { to: waiter, answer } });
      if (error) {
        const action = operation.type === 'forking' ? 'sandbox.fork' : 'snapshot.create';
        const metadata = { snapshot_id, ...error };
        enqueue({ type: 'audit', params: { action, status: 'error', metadata } });
      }
      enqueue.assign({ operation: null });
    }),
    auditCreate: base.enqueueActions(({ context, enqueue }) => {
      const { template, vcpus, memory_mb } = context.spec;
      const metadata = { template, vcpus, memory_mb };
      enqueue({ type: 'audit', params: { action: 'sandbox.create', status: 'success', metadata } });
    }),
    auditBranch: base.enqueueActions(({ context: { operation }, enqueue }) => {
      if (operation === null) return;
      const { type, snapshot_id, name, children } = operation;
      const [action, metadata] =
        type === 'forking'
          ? (['sandbox.fork', { snapshot_id, count: children.length }] as const)
          : (['snapshot.create', { snapshot_id, name }] as const);
      enqueue({ type: 'audit', params: { action, status: 'success', metadata } });
    }),
    /** A pause that somebody asked for was written down with who it was. */
    auditAutoPause: base.enqueueActions(({ context, enqueue }) => {
      if (context.pause_cause === 'request') return;
      enqueue({ type: 'audit', params: { action: 'sandbox.auto_pause', status: 'info', metadata: context.reason } });
    }),
    auditAutoDestroy: auditReason('sandbox.auto_destroy', 'info'),
    auditNotPaused: auditReason('sandbox.pause', 'error'),
    auditNotResumed: auditReason('sandbox.resume', 'error'),
    auditMissing: auditReason('sandbox.missing', 'warning'),
    auditEnd: auditReason('sandbox.end', 'warning'),
    auditError: auditReason('sandbox.error', 'error'),
  },
});

/** By the event that ended a snapshot or fork before it was made. */
function whyNot(event: { type: string; code?: string; message?: string }): Reason {
  const { type, code, message = 'no reason was given' } = event;
  if (code !== undefined) return { code, message };
  if (type === 'DESTROY') return DESTROYED;
  if (type === 'HOST_LOST') return { code: 'host_unreachable', message: reasons.host_unreachable.message };
  if (type.startsWith('xstate.after'))
    return { code: 'timeout', message: 'the host did not make the snapshot in time' };
  return { code: 'snapshot_failed', message: 'its VM ended while the snapshot was being made' };
}

function snapshotCreate(
  { sandbox_id, spec, host_id }: SandboxContext,
  { type, snapshot_id, name, created_by, children }: Operation,
  info: SnapshotCreate['info'],
): SnapshotCreate {
  const snapshot = { id: snapshot_id, host_id: host_id ?? '', ephemeral: true };
  return {
    type: 'CREATE',
    team_id: spec.team_id,
    purpose: type === 'forking' ? 'fork' : 'template',
    name,
    sandbox_id,
    host_id: host_id ?? '',
    created_by,
    vcpus: spec.vcpus,
    memory_mb: spec.memory_mb,
    disk_size_mb: spec.disk_size_mb,
    info,
    children: children.map(({ sandbox_id: id, ...tokens }) => ({
      sandbox_id: id,
      spec: { ...spec, ...tokens, created_by, snapshot },
    })),
  };
}

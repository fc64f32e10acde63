import type {
  VmBranchInput,
  VmCreateInput,
  VmIdleCheckInput,
  VmPauseInput,
  VmResumeInput,
  VmTarget,
} from '../sandbox/effects.ts';
import type { SandboxEvent, VmReady } from '../sandbox/events.ts';
import type { SnapshotInfo, VmReport, VmSource } from '../vm/events.ts';
import type { FakeHost } from './fake-host.ts';
import { snapshotInfo } from './snapshot-sample.ts';

/** A call of an effect's handler as the host hears it. */
export interface HostCall {
  readonly name: string;
  readonly key: string;
  readonly input: VmTarget;
}

/** What a call comes to: null while the host is still at it. */
export type CallResult = () => SandboxEvent | null;

/**
 * A call arrives: what the control plane's handler makes of the host's answer, once there is one. Null: the host does not
 * take it now, and is asked again.
 */
export function receive(host: FakeHost, { name, key, input }: HostCall): CallResult | null {
  const { sandbox_id, incarnation } = input;
  const released = { type: 'RELEASED', incarnation } as const;
  if (name.startsWith('vm.inspect')) {
    const facts = host.facts(sandbox_id);
    return () => ({ type: 'INSPECTED', ...facts });
  }
  if (name === 'vm.idle_check' && (input as VmIdleCheckInput).idle_ms > 0 && host.cursor % 2 === 0) {
    return () => ({ type: 'ACTIVE', incarnation, idle_ms: 500 });
  }
  if (name === 'vm.create') {
    const { snapshot_id } = input as VmCreateInput;
    return start(host, input, key, snapshot_id === null ? { kind: 'kernel' } : { kind: 'snapshot', snapshot_id });
  }
  if (name === 'vm.resume') {
    const { from_incarnation } = input as VmResumeInput;
    return start(host, input, key, { kind: 'paused', incarnation: from_incarnation });
  }
  if (name === 'vm.pause') return pause(host, key, input as VmPauseInput);
  if (name.startsWith('vm.snapshot') || name.startsWith('vm.fork')) return branch(host, key, input as VmBranchInput);
  host.destroy(sandbox_id, incarnation, key);
  return () =>
    host.isReleased(sandbox_id, incarnation) ? { ...released, store_id: host.storeId, cursor: host.cursor } : null;
}

function start(host: FakeHost, { sandbox_id, incarnation }: VmTarget, key: string, source: VmSource): CallResult {
  const { refused } = host.create(sandbox_id, incarnation, key, source);
  if (refused === 'earlier_incarnation_live' && source.kind === 'paused') return () => null; // asked again
  if (refused !== null) {
    const failed = { type: 'VM_FAILED', incarnation, code: refused, message: refused, retryable: false } as const;
    return () => failed;
  }
  return () => started(host, sandbox_id, incarnation, key);
}

function started(host: FakeHost, sandboxId: string, incarnation: number, key: string): SandboxEvent | null {
  const answer = host.answer(sandboxId, incarnation, `create:${key}`);
  if (!answer) return null;
  const origin = { incarnation, store_id: host.storeId, cursor: host.cursor };
  if (answer.ok) {
    const ready: VmReady = {
      type: 'VM_READY',
      ...origin,
      host_ip: '10.11.0.1',
      guest_ip: '169.254.0.21',
      timings_ms: {},
    };
    return ready;
  }
  const { code, message, details } = answer.error;
  const retryable = (details as { retryable?: boolean }).retryable ?? false;
  return { type: 'VM_FAILED', ...origin, code, message, retryable };
}

function pause(host: FakeHost, key: string, { sandbox_id, incarnation, if_idle_ms }: VmPauseInput): CallResult | null {
  if (if_idle_ms !== null && host.cursor % 2 === 0) return () => ({ type: 'ACTIVE', incarnation, idle_ms: 500 });
  if (!host.pause(sandbox_id, incarnation, key)) return null;
  return () => {
    const answer = host.answer(sandbox_id, incarnation, `pause:${key}`);
    if (!answer) return null;
    const origin = { incarnation, store_id: host.storeId, cursor: host.cursor };
    if (answer.ok) {
      const { snapshot = null } = answer.value as VmReport;
      return { type: 'VM_PAUSED', ...origin, snapshot, timings_ms: {} };
    }
    const { code, message } = answer.error;
    return code === 'pause_failed' ? { type: 'PAUSE_FAILED', incarnation, code, message } : null;
  };
}

function branch(host: FakeHost, key: string, input: VmBranchInput): CallResult {
  const { sandbox_id, incarnation, snapshot_id, children } = input;
  const failed = { type: 'BRANCH_FAILED', incarnation, code: 'not_running', message: 'there is no such VM' } as const;
  if (!host.branch(sandbox_id, incarnation, key, snapshot_id, children)) return () => failed;
  if (host.snapshots.has(snapshot_id)) {
    return () => ({ type: 'BRANCHED', incarnation, snapshot: { ...snapshotInfo, snapshot_id } });
  }
  return () => {
    const answer = host.answer(sandbox_id, incarnation, `branch:${key}`);
    if (!answer) return null;
    if (!answer.ok) return { ...failed, code: answer.error.code, message: answer.error.message };
    const { snapshot } = answer.value as { snapshot?: SnapshotInfo };
    return snapshot ? { type: 'BRANCHED', incarnation, snapshot } : failed;
  };
}

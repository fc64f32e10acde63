import type { Inspected, SnapshotInfo, VmFacts, VmFailed, VmReady, VmStatus } from '@wrenn/actors';
import {
  type SnapshotInfo as ProtoSnapshot,
  VmStatus as ProtoStatus,
  type VmReport,
} from '@wrenn/proto/hostagent/v1/hostagent_pb';

const STATUS: Readonly<Record<ProtoStatus, VmStatus | null>> = {
  [ProtoStatus.UNSPECIFIED]: null,
  [ProtoStatus.GONE]: 'gone',
  [ProtoStatus.STARTING]: 'starting',
  [ProtoStatus.READY]: 'ready',
  [ProtoStatus.CRASHED]: 'crashed',
  [ProtoStatus.RELEASING]: 'releasing',
  [ProtoStatus.PAUSED]: 'paused',
};

/** PostgreSQL stores no NUL, and what a guest prints may have one. */
const clean = (text: string): string => text.replaceAll('\0', '\u2400');

/** A report of the agent as the plain facts that events carry. */
export function vmFacts(report: VmReport): VmFacts {
  return {
    store_id: report.storeId,
    cursor: Number(report.cursor),
    incarnation: report.incarnation,
    status: STATUS[report.status] ?? 'gone',
    ...(report.code && { code: report.code, message: clean(report.message), retryable: report.retryable }),
    ...(report.hostIp && { host_ip: report.hostIp }),
    ...(report.guestIp && { guest_ip: report.guestIp }),
    timings_ms: report.timingsMs,
    ...(report.consoleTail && { console_tail: clean(report.consoleTail) }),
    ...(report.snapshot && { snapshot: snapshotInfo(report.snapshot) }),
  };
}

/** What a snapshot is, as events carry it. */
export function snapshotInfo(info: ProtoSnapshot): SnapshotInfo {
  return {
    snapshot_id: info.snapshotId,
    memory_bytes: Number(info.memoryBytes),
    disk_bytes: Number(info.diskBytes),
    generations: info.generations,
    vcpus: info.vcpus,
    memory_mb: info.memoryMb,
    disk_size_mb: info.diskSizeMb,
    freeze_ms: info.freezeMs,
    needs: { ...info.needs },
  };
}

/** What the end of a start means: ready, or not. */
export function startResult(facts: VmFacts): VmReady | VmFailed {
  const { store_id, cursor, incarnation } = facts;
  const origin = { ...(store_id !== undefined && { store_id }), ...(cursor !== undefined && { cursor }) };
  if (facts.status === 'ready') {
    return {
      type: 'VM_READY',
      ...origin,
      incarnation,
      host_ip: facts.host_ip ?? '',
      guest_ip: facts.guest_ip ?? '',
      timings_ms: facts.timings_ms ?? {},
    };
  }
  return {
    type: 'VM_FAILED',
    ...origin,
    incarnation,
    code: facts.code ?? 'vm_failed',
    message: facts.message ?? `The VM is ${facts.status}.`,
    retryable: facts.retryable ?? false,
    ...(facts.console_tail !== undefined && { console_tail: facts.console_tail }),
  };
}

export function inspected(facts: VmFacts): Inspected {
  return { type: 'INSPECTED', ...facts };
}

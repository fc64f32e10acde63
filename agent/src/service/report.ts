import { create } from '@bufbuild/protobuf';
import type { SnapshotInfo as SnapshotFact, VmReport as VmFact, VmStatus as VmWord } from '@wrenn/actors';
import {
  type SnapshotInfo,
  SnapshotInfoSchema,
  type VmReport,
  VmReportSchema,
  VmStatus,
} from '@wrenn/proto/hostagent/v1/hostagent_pb';

const STATUS: Readonly<Record<VmWord, VmStatus>> = {
  gone: VmStatus.GONE,
  starting: VmStatus.STARTING,
  ready: VmStatus.READY,
  crashed: VmStatus.CRASHED,
  releasing: VmStatus.RELEASING,
  paused: VmStatus.PAUSED,
};

/** Where in the agent's journal a fact was true, and which command it answers. */
export interface ReportOrigin {
  readonly storeId: string;
  readonly cursor: bigint;
  readonly key?: string;
}

/** A fact of a `vm` actor in the words of the protocol. */
export function toReport(fact: VmFact, { storeId, cursor, key = '' }: ReportOrigin): VmReport {
  return create(VmReportSchema, {
    storeId,
    cursor,
    key,
    sandboxId: fact.sandbox_id,
    incarnation: fact.incarnation,
    status: STATUS[fact.status],
    code: fact.code ?? '',
    message: fact.message ?? '',
    retryable: fact.retryable ?? false,
    hostIp: fact.host_ip ?? '',
    guestIp: fact.guest_ip ?? '',
    timingsMs: fact.timings_ms ?? {},
    consoleTail: fact.console_tail ?? '',
    ...(fact.snapshot && { snapshot: toSnapshotInfo(fact.snapshot) }),
  });
}

export function toSnapshotInfo(fact: SnapshotFact): SnapshotInfo {
  return create(SnapshotInfoSchema, {
    snapshotId: fact.snapshot_id,
    memoryBytes: BigInt(fact.memory_bytes),
    diskBytes: BigInt(fact.disk_bytes),
    generations: fact.generations,
    vcpus: fact.vcpus,
    memoryMb: fact.memory_mb,
    diskSizeMb: fact.disk_size_mb,
    freezeMs: fact.freeze_ms,
    needs: fact.needs,
  });
}

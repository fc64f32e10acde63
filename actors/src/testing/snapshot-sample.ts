import type { SnapshotInfo } from '../vm/events.ts';

export const snapshotInfo: SnapshotInfo = {
  snapshot_id: '',
  memory_bytes: 12_000_000,
  disk_bytes: 4_000_000,
  generations: 1,
  vcpus: 1,
  memory_mb: 512,
  disk_size_mb: 20_480,
  freeze_ms: 2,
  needs: { vmm: 'qemu' },
};

import { vmDefinition } from '../vm/definition.ts';
import type { SnapshotInfo, VmContext, VmEvent, VmUndo } from '../vm/events.ts';
import { ActorInMemory, type Clock } from './actor-in-memory.ts';
import { createVm } from './samples.ts';

export const ID = 'sb1.1';
export const ADMITTED = { type: 'ADMITTED', origin: null } as const;
export const ORIGIN = { kind: 'snapshot', snapshot_id: 'boot.1234' } as const;
export const SLOT = {
  type: 'SLOT_READY',
  index: 3,
  host_ip: '10.11.0.3',
  guest_ip: '169.254.0.21',
  namespace: 'wrenn-ns-3',
} as const;
export const ROOTFS = { type: 'ROOTFS_READY', disk: { path: 'sandboxes/sb1/disk.qcow2', format: 'qcow2' } } as const;
export const STARTED = { type: 'VMM_STARTED', pid: 4242, start_time: 99 } as const;
export const GUEST = { type: 'GUEST_READY', timings_ms: { boot: 2_000 } } as const;
export const EXITED = { type: 'VMM_EXITED', code: null, signal: 'SIGKILL', console_tail: 'last words' } as const;

export const SNAPSHOT: SnapshotInfo = {
  snapshot_id: '',
  memory_bytes: 4096,
  disk_bytes: 4096,
  generations: 1,
  vcpus: 1,
  memory_mb: 512,
  disk_size_mb: 20_480,
  freeze_ms: 1,
  needs: {},
};
export const PUBLISHED = { type: 'PUBLISHED', snapshot: SNAPSHOT, timings_ms: { publish: 2 } } as const;
export const FROZEN = { timings_ms: { freeze: 1 } };
export const pause = (key = 'pause'): VmEvent => ({ type: 'PAUSE', sandbox_id: 'sb1', incarnation: 1, key, epoch: 1 });
export const branch = (): VmEvent => ({
  ...{ type: 'BRANCH', sandbox_id: 'sb1', incarnation: 1, key: 'branch', epoch: 1 },
  ...{ snapshot_id: 'snap-1', children: 3 },
});
export const FAILED = {
  type: 'STEP_FAILED',
  step: 'save',
  code: 'disk_full',
  message: 'no space',
  retryable: true,
} as const;

/** The way to `ready`, as far as wanted. */
export const WAY = [
  ['vm.admit', ADMITTED],
  ['vm.slot', SLOT],
  ['vm.rootfs', ROOTFS],
  ['vm.launch', STARTED],
  ['vm.await_guest', GUEST],
] as const;

export function vmAfter(clock: Clock, steps: number): ActorInMemory<VmContext> {
  const vm = new ActorInMemory(vmDefinition, ID, clock);
  vm.send(createVm(), { id: 'create' });
  for (const [effect, event] of WAY.slice(0, steps)) vm.result(effect, event);
  return vm;
}

/** Lets all undo steps be done; gives their names in order. */
export function release(vm: ActorInMemory<VmContext>): VmUndo[] {
  const done: VmUndo[] = [];
  while (vm.path.startsWith('releasing')) {
    const name = vm.effects[0]?.name ?? 'none';
    const step = name.slice('vm.'.length) as VmUndo;
    done.push(step);
    vm.result(name, { type: 'UNDONE', step });
  }
  return done;
}

import { beforeEach, describe, expect, test } from 'vitest';
import { ActorInMemory, Clock } from '../testing/actor-in-memory.ts';
import { deadlinesOf, explore, statesOf } from '../testing/explore.ts';
import { checkAllAnswered } from '../testing/invariants.ts';
import { createVm, destroyVm } from '../testing/samples.ts';
import { admitIncarnation } from './admission.ts';
import { vmDefinition } from './definition.ts';
import type { SnapshotInfo, VmContext, VmCreate, VmEvent, VmUndo } from './events.ts';
import { vmMachine } from './machine.ts';
import { isSandboxVm, vmReport } from './project.ts';

const ID = 'sb1.1';
const ADMITTED = { type: 'ADMITTED', origin: null } as const;
const ORIGIN = { kind: 'snapshot', snapshot_id: 'boot.1234' } as const;
const SLOT = {
  type: 'SLOT_READY',
  index: 3,
  host_ip: '10.11.0.3',
  guest_ip: '169.254.0.21',
  namespace: 'wrenn-ns-3',
} as const;
const ROOTFS = { type: 'ROOTFS_READY', disk: { path: 'sandboxes/sb1/disk.qcow2', format: 'qcow2' } } as const;
const STARTED = { type: 'VMM_STARTED', pid: 4242, start_time: 99 } as const;
const GUEST = { type: 'GUEST_READY', timings_ms: { boot: 2_000 } } as const;
const EXITED = { type: 'VMM_EXITED', code: null, signal: 'SIGKILL', console_tail: 'last words' } as const;

let clock: Clock;
beforeEach(() => {
  clock = new Clock();
});

const SNAPSHOT: SnapshotInfo = {
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
const PUBLISHED = { type: 'PUBLISHED', snapshot: SNAPSHOT, timings_ms: { publish: 2 } } as const;
const FROZEN = { timings_ms: { freeze: 1 } };
const pause = (key = 'pause'): VmEvent => ({ type: 'PAUSE', sandbox_id: 'sb1', incarnation: 1, key, epoch: 1 });
const branch = (): VmEvent => ({
  ...{ type: 'BRANCH', sandbox_id: 'sb1', incarnation: 1, key: 'branch', epoch: 1 },
  ...{ snapshot_id: 'snap-1', children: 3 },
});
const FAILED = { type: 'STEP_FAILED', step: 'save', code: 'disk_full', message: 'no space', retryable: true } as const;

/** The way to `ready`, as far as wanted. */
const WAY = [
  ['vm.admit', ADMITTED],
  ['vm.slot', SLOT],
  ['vm.rootfs', ROOTFS],
  ['vm.launch', STARTED],
  ['vm.await_guest', GUEST],
] as const;

function vmAfter(steps: number): ActorInMemory<VmContext> {
  const vm = new ActorInMemory(vmDefinition, ID, clock);
  vm.send(createVm(), { id: 'create' });
  for (const [effect, event] of WAY.slice(0, steps)) vm.result(effect, event);
  return vm;
}

/** Lets all undo steps be done; gives their names in order. */
function release(vm: ActorInMemory<VmContext>): VmUndo[] {
  const done: VmUndo[] = [];
  while (vm.path.startsWith('releasing')) {
    const name = vm.effects[0]?.name ?? 'none';
    const step = name.slice('vm.'.length) as VmUndo;
    done.push(step);
    vm.result(name, { type: 'UNDONE', step });
  }
  return done;
}

describe('the graph', () => {
  const events: VmEvent[] = [
    ADMITTED,
    { type: 'ADMITTED', origin: ORIGIN },
    SLOT,
    ROOTFS,
    STARTED,
    GUEST,
    EXITED,
    { type: 'STEP_FAILED', step: 'slot', code: 'no_slots_available', message: 'none is free', retryable: true },
    { type: 'UNDONE', step: 'kill' },
    { type: 'UNDONE', step: 'unroot' },
    { type: 'UNDONE', step: 'unslot' },
    { type: 'ADOPTED' },
    { type: 'STALLED', code: 'disk_full', message: 'no room' },
    { type: 'STALL_ENDED' },
    pause(),
    branch(),
    { type: 'QUIESCED', ...FROZEN },
    { type: 'SAVED', ...FROZEN },
    { type: 'BRANCHED', ...FROZEN },
    PUBLISHED,
    { type: 'CONTINUED' },
    { type: 'INTERRUPTED' },
    { type: 'SUPERSEDED' },
    { type: 'CLAIM', by: 'sb1.1' },
    { type: 'CLAIMED', origin: ORIGIN, slot: SLOT, disk: ROOTFS.disk, vmm: { pid: 7, start_time: 7 } },
    { type: 'CLAIM_LOST' },
    createVm(),
    destroyVm(),
  ];
  const distinguish = ({ undo, spec, branch, snapshot, claim, origin }: VmContext) => [
    ...[undo, spec === null, branch === null, snapshot === null, claim === null, origin === null],
  ];
  const creates: VmCreate[] = [
    createVm(),
    { ...createVm(), claim: 'warm.1.1' },
    { ...createVm(), purpose: 'boot' },
    { ...createVm(), purpose: 'warm' },
    { ...createVm(), purpose: 'waiting' },
  ];
  const explored = creates.map((create) => explore({ definition: vmDefinition, id: ID, create, events, distinguish }));

  test('every state is reached, and every transition is taken', () => {
    const reached = new Set(explored.flatMap(({ states }) => [...states]));
    expect(statesOf(vmMachine).filter((state) => !reached.has(state))).toEqual([]);
    // The first state is left before anything can be sent to it; a tombstone's way is tested below.
    const untaken = explored.map((one) => one.untaken).reduce((all, one) => all.filter((name) => one.includes(name)));
    expect(untaken.filter((name) => !name.startsWith('deciding'))).toEqual([]);
  });

  test('every work state has a deadline (I3)', () => {
    const work = deadlinesOf(vmMachine);
    expect(work.map(({ state }) => state)).toEqual([
      'queued',
      'preparing.claim',
      'preparing.slot',
      'preparing.rootfs',
      'preparing.launch',
      'booting',
      'restoring',
      'branching.saving',
      'quiescing',
      'saving',
      'publishing',
      'continuing',
      'crashed',
      'releasing.kill',
      'releasing.unroot',
      'releasing.unslot',
    ]);
    expect(work.filter(({ delays }) => delays.length === 0)).toEqual([]);
  });
});

describe('create', () => {
  test('goes step by step and is answered when the guest is', () => {
    const vm = vmAfter(5);
    expect(vm.path).toBe('ready');
    expect(vm.answers.get('create')).toEqual([
      {
        ok: true,
        value: {
          sandbox_id: 'sb1',
          incarnation: 1,
          status: 'ready',
          host_ip: '10.11.0.3',
          guest_ip: '169.254.0.21',
          timings_ms: { boot: 2_000 },
        },
      },
    ]);
    checkAllAnswered(vm as never);
  });

  test('sent again with another key it waits for the same outcome', () => {
    const vm = vmAfter(3);
    vm.send({ ...createVm(), key: 'again', epoch: 5 }, { id: 'again' });
    vm.result('vm.launch', STARTED);
    vm.result('vm.await_guest', GUEST);
    expect(vm.answers.get('again')).toEqual(vm.answers.get('create'));
    vm.send(createVm(), { id: 'third' });
    expect(vm.answers.get('third')).toEqual(vm.answers.get('create'));
    expect(vm.context.epoch).toBe(5);
  });

  test('its time counts from the admission, over all steps', () => {
    const vm = vmAfter(0);
    clock.now += 100_000;
    vm.result('vm.admit', ADMITTED);
    clock.now += 60_000;
    for (const [effect, event] of WAY.slice(1, 4)) vm.result(effect, event);
    expect(vm.timers).toMatchObject([{ delay: 'START_DEADLINE', dueAt: clock.now + 30_000 }]);
    vm.fire('START_DEADLINE');
    expect(release(vm)).toEqual(['kill', 'unroot', 'unslot']);
    expect(vm.answers.get('create')).toMatchObject([
      { ok: false, error: { code: 'start_timeout', details: { status: 'gone', retryable: true } } },
    ]);
  });
});

describe('whatever ends it, everything that may have been begun is undone, in reverse (I5)', () => {
  const begun: [steps: number, undo: VmUndo[]][] = [
    [0, []],
    [1, ['kill', 'unroot', 'unslot']],
    [2, ['kill', 'unroot', 'unslot']],
    [3, ['kill', 'unroot', 'unslot']],
    [4, ['kill', 'unroot', 'unslot']],
    [5, ['kill', 'unroot', 'unslot']],
  ];

  test.each(begun)('destroyed after %i steps', (steps, undo) => {
    const vm = vmAfter(steps);
    vm.send(destroyVm(), { id: 'destroy' });
    expect(release(vm)).toEqual(undo);
    expect(vm.path).toBe('gone');
    expect(vm.answers.get('destroy')).toMatchObject([{ ok: true, value: { status: 'gone' } }]);
    checkAllAnswered(vm as never);
  });

  test.each(begun.slice(0, 5))('failed in the step after %i', (steps, undo) => {
    const vm = vmAfter(steps);
    const [effect] = WAY[steps] ?? ['none'];
    const failure = { code: 'no_space', message: 'the disk is full', retryable: true };
    vm.result(effect, { type: 'STEP_FAILED', step: 'rootfs', ...failure });
    expect(vm.answers.has('create')).toBe(steps === 0);
    expect(release(vm)).toEqual(undo);
    expect(vm.answers.get('create')).toMatchObject([{ ok: false, error: { code: 'no_space', details: failure } }]);
  });

  test('the agent dies in the middle: the list is as it was', () => {
    const vm = vmAfter(3);
    vm.restart();
    vm.send(destroyVm());
    vm.restart();
    expect(vm.effects).toMatchObject([{ name: 'vm.kill', input: { vmm: null } }]);
    expect(release(vm)).toEqual(['kill', 'unroot', 'unslot']);
  });

  test('an undo that takes long is opened anew, and never given up', () => {
    const vm = vmAfter(5);
    vm.send(destroyVm());
    const key = vm.key('vm.kill');
    vm.fire('UNDO_REVIEW');
    expect(vm.key('vm.kill')).not.toBe(key);
    expect(vm.send({ type: 'UNDONE', step: 'kill' }, { effectKey: key })).toBe('late'); // I4
    expect(release(vm)).toEqual(['kill', 'unroot', 'unslot']);
  });
});

describe('the VMM ends by itself', () => {
  test('when ready: crashed is committed, then everything is released', () => {
    const vm = vmAfter(5);
    vm.send(EXITED);
    expect(vm.path).toBe('crashed');
    expect(vmReport(vm.view)).toMatchObject({ status: 'crashed', code: 'vmm_exited', console_tail: 'last words' });
    vm.fire('AT_ONCE');
    expect(release(vm)).toEqual(['kill', 'unroot', 'unslot']);
    expect(vmReport(vm.view)).toMatchObject({ status: 'gone', code: 'vmm_exited', retryable: false });
  });

  test('before the guest is ready: the start has failed, another host may do better', () => {
    const vm = vmAfter(4);
    vm.send(EXITED);
    release(vm);
    expect(vm.answers.get('create')).toMatchObject([
      { ok: false, error: { code: 'vmm_exited', details: { retryable: true, console_tail: 'last words' } } },
    ]);
  });

  test('an adopted one is as ready as before', () => {
    const vm = vmAfter(5);
    vm.restart();
    expect(vm.send({ type: 'ADOPTED' })).toBe('transition');
    expect(vm.path).toBe('ready');
    expect(vm.context.adoptions).toBe(1);
  });
});

describe('graves (I1)', () => {
  test('destroy of an incarnation that was never seen buries it', () => {
    const vm = new ActorInMemory(vmDefinition, 'sb1.4', clock);
    vm.send(destroyVm(4), { id: 'destroy' });
    expect(vm.path).toBe('gone');
    expect(vm.effects).toEqual([]);
    expect(vm.answers.get('destroy')).toMatchObject([{ ok: true, value: { incarnation: 4, status: 'gone' } }]);
    expect(vm.send(createVm(4))).toBe('refused');
  });

  test('a grave keeps no secret', () => {
    const vm = vmAfter(5);
    expect(JSON.stringify(vmDefinition.publicContext?.(vm.context))).not.toContain('secret');
    vm.send(destroyVm());
    release(vm);
    expect(JSON.stringify(vm.context)).not.toContain('secret');
    expect(vm.view).toMatchObject({ done: true });
    expect(vmDefinition.teamOf?.(vm.context)).toBe('team-1');
  });

  const gone = { incarnation: 2, status: 'gone', epoch: 3 } as const;
  const live = { incarnation: 2, status: 'ready', epoch: 3 } as const;
  test.each([
    ['nothing known', [], 1, 3, { admit: true, join: false }],
    ['above a grave', [gone], 3, 3, { admit: true, join: false }],
    ['the buried one', [gone], 2, 3, { admit: false, code: 'incarnation_buried', retryable: false }],
    ['below a grave', [gone], 1, 3, { admit: false, code: 'stale_incarnation' }],
    ['the living one', [live], 2, 4, { admit: true, join: true }],
    ['above a living one', [live], 3, 4, { admit: false, code: 'earlier_incarnation_live', retryable: true }],
    ['of an old owner', [gone], 3, 2, { admit: false, code: 'stale_epoch' }],
  ] as const)('%s', (_, known, incarnation, epoch, expected) => {
    expect(admitIncarnation(known, { incarnation, epoch })).toMatchObject(expected);
  });
});

describe('pause (SN1)', () => {
  const PAUSE_WAY = [
    ['vm.quiesce', { type: 'QUIESCED', ...FROZEN }],
    ['vm.save', { type: 'SAVED', ...FROZEN }],
    ['vm.publish', PUBLISHED],
  ] as const;
  const pausedAfter = (steps: number): ActorInMemory<VmContext> => {
    const vm = vmAfter(5);
    vm.send(pause(), { id: 'pause' });
    for (const [effect, event] of PAUSE_WAY.slice(0, steps)) vm.result(effect, event);
    return vm;
  };

  test('releases everything but the files, and is answered then', () => {
    const vm = pausedAfter(3);
    expect(vm.answers.has('pause')).toBe(false);
    expect(release(vm)).toEqual(['kill', 'unslot']);
    expect(vm.path).toBe('paused');
    expect(vm.answers.get('pause')).toMatchObject([{ ok: true, value: { status: 'paused', snapshot: SNAPSHOT } }]);
    expect(JSON.stringify(vm.context)).not.toContain('secret');
    vm.send(pause('again'), { id: 'again' });
    expect(vm.answers.get('again')).toEqual(vm.answers.get('pause'));
    expect(vm.send(branch())).toBe('refused'); // its files are copied without it
    vm.send(destroyVm(), { id: 'destroy' });
    expect(release(vm)).toEqual(['unroot']);
    expect(vm.answers.get('destroy')).toMatchObject([{ ok: true, value: { status: 'gone' } }]);
    checkAllAnswered(vm as never);
  });

  test.each([0, 1, 2])('failed in the step after %i: the VM runs on, the asker hears why (SN1)', (steps) => {
    const vm = pausedAfter(steps);
    vm.result(PAUSE_WAY[steps]?.[0] ?? '', FAILED);
    expect(vm.path).toBe('continuing');
    expect(vmReport(vm.view).status).toBe('ready');
    vm.result('vm.continue', { type: 'CONTINUED' });
    expect(vm.path).toBe('ready');
    expect(vm.answers.get('pause')).toMatchObject([
      { ok: false, error: { code: 'pause_failed', message: 'no space', details: { reason: 'disk_full' } } },
    ]);
    vm.send(pause('again'), { id: 'again' }); // another attempt begins anew
    for (const [effect, event] of PAUSE_WAY) vm.result(effect, event);
    release(vm);
    expect(vm.answers.get('again')).toMatchObject([{ ok: true }]);
    expect(vm.context.failure).toBeNull();
  });

  test.each(['QUIESCE_DEADLINE', 'SAVE_DEADLINE', 'SAVE_DEADLINE'])('%s (#%#): it runs on', (deadline) => {
    const vm = pausedAfter(['QUIESCE_DEADLINE', 'SAVE_DEADLINE'].indexOf(deadline));
    vm.fire(deadline);
    expect(vm.path).toBe('continuing');
  });

  test('a guest that cannot be made to run on has crashed, and everything is released', () => {
    const vm = pausedAfter(1);
    vm.result('vm.save', FAILED);
    vm.fire('CONTINUE_DEADLINE');
    expect(vm.path).toBe('crashed');
    vm.fire('AT_ONCE');
    expect(release(vm)).toEqual(['kill', 'unroot', 'unslot']);
    expect(vm.answers.get('pause')).toMatchObject([{ ok: false, error: { code: 'guest_lost' } }]);
  });

  test.each([0, 1])('the agent dies after %i steps: rolled back', (steps) => {
    const vm = pausedAfter(steps);
    vm.restart();
    vm.send({ type: 'INTERRUPTED' });
    expect(vm.path).toBe('continuing');
    vm.result('vm.continue', { type: 'CONTINUED' });
    expect(vm.answers.get('pause')).toMatchObject([{ ok: false, error: { details: { reason: 'interrupted' } } }]);
  });

  test('once saved it needs no VMM: its end and a restart change nothing (SN5)', () => {
    const vm = pausedAfter(2);
    vm.restart();
    vm.send(EXITED);
    expect(vm.path).toBe('publishing');
    vm.result('vm.publish', PUBLISHED);
    release(vm);
    expect(vm.path).toBe('paused');
  });

  test('destroyed in the middle: nothing is left, and both askers are answered (SN13)', () => {
    const vm = pausedAfter(2);
    vm.send(destroyVm(), { id: 'destroy' });
    expect(release(vm)).toEqual(['kill', 'unroot', 'unslot']);
    expect(vm.answers.get('pause')).toMatchObject([{ ok: false, error: { code: 'destroyed' } }]);
    expect(vm.answers.get('destroy')).toMatchObject([{ ok: true }]);
  });

  test('destroyed after it was published and before it was released: the files go as well', () => {
    const vm = pausedAfter(3);
    vm.send(destroyVm(), { id: 'destroy' });
    expect(release(vm)).toEqual(['kill', 'unroot', 'unslot']);
    expect(vm.path).toBe('gone');
  });

  test('destroyed in the last undo of its pause, whose order has left the files out: they go after it', () => {
    const vm = pausedAfter(3);
    vm.result('vm.kill', { type: 'UNDONE', step: 'kill' });
    vm.send(destroyVm(), { id: 'destroy' });
    expect(release(vm)).toEqual(['unslot', 'unroot']);
    expect(vm.path).toBe('gone');
    expect(vm.answers.get('destroy')).toMatchObject([{ ok: true, value: { status: 'gone' } }]);
  });

  test('a resumed one that is paused supersedes the one it came from', () => {
    const vm = new ActorInMemory(vmDefinition, 'sb1.2', clock);
    vm.send(createVm(2, { kind: 'paused', incarnation: 1 }), { id: 'create' });
    vm.result('vm.admit', { type: 'ADMITTED', origin: { kind: 'paused', vm_id: 'sb1.1' } });
    for (const [effect, event] of WAY.slice(1, 4)) vm.result(effect, event);
    expect(vm.path).toBe('restoring');
    vm.result('vm.restore', GUEST);
    vm.send(pause());
    for (const [effect, event] of PAUSE_WAY) vm.result(effect, event);
    expect(vm.outbox).toEqual([]);
    release(vm);
    expect(vm.outbox).toMatchObject([{ to: { kind: 'vm', id: 'sb1.1' }, event: { type: 'SUPERSEDED' } }]);

    const earlier = pausedAfter(3);
    release(earlier);
    earlier.send({ type: 'SUPERSEDED' });
    expect(release(earlier)).toEqual(['unroot']);
    expect(earlier.path).toBe('gone');
  });
});

describe('branch (SN9, SN10)', () => {
  const branched = (): ActorInMemory<VmContext> => {
    const vm = vmAfter(5);
    vm.send(branch(), { id: 'branch' });
    return vm;
  };

  test('the VM runs on, and the asker hears when the snapshot is durable (I2)', () => {
    const vm = branched();
    vm.result('vm.branch', { type: 'BRANCHED', ...FROZEN });
    expect(vm.answers.has('branch')).toBe(false);
    expect(vm.send(pause())).toBe('refused');
    vm.result('vm.publish', PUBLISHED);
    expect(vm.path).toBe('ready');
    expect(vm.answers.get('branch')).toMatchObject([{ ok: true, value: { status: 'ready', snapshot: SNAPSHOT } }]);
  });

  test.each(['vm.branch', 'vm.publish'])('%s failed: the VM runs on', (effect) => {
    const vm = branched();
    if (effect === 'vm.publish') vm.result('vm.branch', { type: 'BRANCHED', ...FROZEN });
    vm.result(effect, FAILED);
    vm.result('vm.continue', { type: 'CONTINUED' });
    expect(vm.answers.get('branch')).toMatchObject([{ ok: false, error: { code: 'snapshot_failed' } }]);
    expect(vm.path).toBe('ready');
  });

  test('the VM dies meanwhile: crashed, and the asker is answered', () => {
    const vm = branched();
    vm.result('vm.branch', { type: 'BRANCHED', ...FROZEN });
    vm.send(EXITED);
    vm.fire('AT_ONCE');
    release(vm);
    expect(vm.answers.get('branch')).toMatchObject([{ ok: false, error: { code: 'vmm_exited' } }]);
  });
});

describe('VMs that are no sandboxes', () => {
  test('boot: from ready straight to its snapshot, and gone', () => {
    const vm = new ActorInMemory(vmDefinition, 'boot.1234.1', clock);
    vm.send({ ...createVm(), purpose: 'boot' }, { id: 'create' });
    for (const [effect, event] of WAY) vm.result(effect, event);
    expect(vm.path).toBe('quiescing');
    vm.result('vm.quiesce', { type: 'QUIESCED', ...FROZEN });
    vm.result('vm.save', { type: 'SAVED', ...FROZEN });
    vm.send(EXITED); // the VMM ends before its memory counts as a base
    vm.result('vm.publish', PUBLISHED);
    expect(release(vm)).toEqual(['kill', 'unroot', 'unslot']);
    expect(vm.answers.get('create')).toMatchObject([{ ok: true, value: { snapshot: SNAPSHOT } }]);
    expect(isSandboxVm(vm.view)).toBe(false);
  });

  test.each(['vm.quiesce', 'vm.save', 'vm.publish'])('boot: %s failed, nothing is left', (failing) => {
    const vm = new ActorInMemory(vmDefinition, 'boot.1234.1', clock);
    vm.send({ ...createVm(), purpose: 'boot' }, { id: 'create' });
    for (const [effect, event] of WAY) vm.result(effect, event);
    for (const [effect, event] of [
      ['vm.quiesce', { type: 'QUIESCED', ...FROZEN }],
      ['vm.save', { type: 'SAVED', ...FROZEN }],
      ['vm.publish', PUBLISHED],
    ] as const) {
      vm.result(effect, effect === failing ? FAILED : event);
      if (effect === failing) break;
    }
    expect(release(vm)).toEqual(['kill', 'unroot', 'unslot']);
    expect(vm.answers.get('create')).toMatchObject([{ ok: false, error: { code: 'disk_full' } }]);
  });

  const warm = (): ActorInMemory<VmContext> => {
    const vm = new ActorInMemory(vmDefinition, 'warm.1.1', clock);
    vm.send({ ...createVm(1, { kind: 'template' }), purpose: 'warm' }, { id: 'create' });
    vm.result('vm.admit', { type: 'ADMITTED', origin: ORIGIN });
    for (const [effect, event] of WAY.slice(1, 4)) vm.result(effect, event);
    vm.result('vm.restore', GUEST);
    return vm;
  };

  test('warm: handed out once, with all that it holds (SN13)', () => {
    const vm = warm();
    expect(vm.path).toBe('parked');
    expect(vm.send({ type: 'CLAIM', by: 'sb1.1' })).toBe('transition');
    expect(vm.path).toBe('claimed');
    expect(vm.context).toMatchObject({ undo: [], slot: { index: 3 }, vmm: { pid: 4242 } });
    expect(vm.send({ type: 'CLAIM', by: 'sb2.1' })).toBe('refused');
  });

  test('waiting: parked before it is restored', () => {
    const vm = new ActorInMemory(vmDefinition, 'warm.2.1', clock);
    vm.send({ ...createVm(1, { kind: 'template' }), purpose: 'waiting' }, { id: 'create' });
    vm.result('vm.admit', { type: 'ADMITTED', origin: ORIGIN });
    for (const [effect, event] of WAY.slice(1, 4)) vm.result(effect, event);
    expect(vm.path).toBe('parked');
    vm.send(EXITED);
    vm.fire('AT_ONCE');
    expect(release(vm)).toEqual(['kill', 'unroot', 'unslot']);
  });

  test('a claim: its first commit names what it takes over and how to undo it', () => {
    const vm = new ActorInMemory(vmDefinition, ID, clock);
    vm.send({ ...createVm(1, { kind: 'template' }), claim: 'warm.1.1' }, { id: 'create' });
    expect(vm.path).toBe('preparing.claim');
    vm.restart();
    expect(vm.context).toMatchObject({ claim: 'warm.1.1', undo: ['unslot', 'unroot', 'kill'] });
    const { context } = warm();
    const { slot, disk, vmm } = context;
    vm.result('vm.claim', { type: 'CLAIMED', origin: ORIGIN, slot, disk, vmm } as VmEvent);
    expect(vm.path).toBe('restoring');
    vm.result('vm.restore', GUEST);
    vm.send(destroyVm());
    expect(release(vm)).toEqual(['kill', 'unroot', 'unslot']);
  });

  test('a claim that comes too late makes its own', () => {
    const vm = new ActorInMemory(vmDefinition, ID, clock);
    vm.send({ ...createVm(1, { kind: 'template' }), claim: 'warm.1.1' });
    vm.result('vm.claim', { type: 'CLAIM_LOST' });
    expect(vm.path).toBe('queued');
    expect(vm.context).toMatchObject({ claim: null, undo: [] });
  });
});

test('version 1 comes up as what it was: a sandbox that had booted', () => {
  const { context } = vmAfter(5);
  const earlier = JSON.parse(JSON.stringify({ value: 'ready', context }));
  for (const added of ['purpose', 'source', 'claim', 'origin', 'branch', 'setback', 'made', 'snapshot']) {
    delete earlier.context[added];
  }
  for (const added of ['pause_waiters', 'branch_waiters']) delete earlier.context[added];
  expect(vmDefinition.upcasters?.[1]?.(earlier)).toMatchObject({ value: 'ready', context });
});

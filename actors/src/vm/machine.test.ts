import { describe, expect, test } from 'vitest';
import { ActorInMemory } from '../testing/actor-in-memory.ts';
import { deadlinesOf, explore, statesOf } from '../testing/explore.ts';
import { checkAllAnswered } from '../testing/invariants.ts';
import { createVm, destroyVm } from '../testing/samples.ts';
import { testClock } from '../testing/test-clock.ts';
import {
  ADMITTED,
  branch,
  EXITED,
  FROZEN,
  GUEST,
  ID,
  ORIGIN,
  PUBLISHED,
  pause,
  ROOTFS,
  release,
  SLOT,
  STARTED,
  vmAfter,
  WAY,
} from '../testing/vm-steps.ts';
import { admitIncarnation } from './admission.ts';
import { vmDefinition } from './definition.ts';
import type { VmContext, VmCreate, VmEvent, VmUndo } from './events.ts';
import { vmMachine } from './machine.ts';
import { vmReport } from './project.ts';

const clock = testClock();

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
    const vm = vmAfter(clock, 5);
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
    const vm = vmAfter(clock, 3);
    vm.send({ ...createVm(), key: 'again', epoch: 5 }, { id: 'again' });
    vm.result('vm.launch', STARTED);
    vm.result('vm.await_guest', GUEST);
    expect(vm.answers.get('again')).toEqual(vm.answers.get('create'));
    vm.send(createVm(), { id: 'third' });
    expect(vm.answers.get('third')).toEqual(vm.answers.get('create'));
    expect(vm.context.epoch).toBe(5);
  });

  test('its time counts from the admission, over all steps', () => {
    const vm = vmAfter(clock, 0);
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
    const vm = vmAfter(clock, steps);
    vm.send(destroyVm(), { id: 'destroy' });
    expect(release(vm)).toEqual(undo);
    expect(vm.path).toBe('gone');
    expect(vm.answers.get('destroy')).toMatchObject([{ ok: true, value: { status: 'gone' } }]);
    checkAllAnswered(vm as never);
  });

  test.each(begun.slice(0, 5))('failed in the step after %i', (steps, undo) => {
    const vm = vmAfter(clock, steps);
    const [effect] = WAY[steps] ?? ['none'];
    const failure = { code: 'no_space', message: 'the disk is full', retryable: true };
    vm.result(effect, { type: 'STEP_FAILED', step: 'rootfs', ...failure });
    expect(vm.answers.has('create')).toBe(steps === 0);
    expect(release(vm)).toEqual(undo);
    expect(vm.answers.get('create')).toMatchObject([{ ok: false, error: { code: 'no_space', details: failure } }]);
  });

  test('the agent dies in the middle: the list is as it was', () => {
    const vm = vmAfter(clock, 3);
    vm.restart();
    vm.send(destroyVm());
    vm.restart();
    expect(vm.effects).toMatchObject([{ name: 'vm.kill', input: { vmm: null } }]);
    expect(release(vm)).toEqual(['kill', 'unroot', 'unslot']);
  });

  test('an undo that takes long is opened anew, and never given up', () => {
    const vm = vmAfter(clock, 5);
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
    const vm = vmAfter(clock, 5);
    vm.send(EXITED);
    expect(vm.path).toBe('crashed');
    expect(vmReport(vm.view)).toMatchObject({ status: 'crashed', code: 'vmm_exited', console_tail: 'last words' });
    vm.fire('AT_ONCE');
    expect(release(vm)).toEqual(['kill', 'unroot', 'unslot']);
    expect(vmReport(vm.view)).toMatchObject({ status: 'gone', code: 'vmm_exited', retryable: false });
  });

  test('before the guest is ready: the start has failed, another host may do better', () => {
    const vm = vmAfter(clock, 4);
    vm.send(EXITED);
    release(vm);
    expect(vm.answers.get('create')).toMatchObject([
      { ok: false, error: { code: 'vmm_exited', details: { retryable: true, console_tail: 'last words' } } },
    ]);
  });

  test('an adopted one is as ready as before', () => {
    const vm = vmAfter(clock, 5);
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
    const vm = vmAfter(clock, 5);
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

test('version 1 comes up as what it was: a sandbox that had booted', () => {
  const { context } = vmAfter(clock, 5);
  const earlier = JSON.parse(JSON.stringify({ value: 'ready', context }));
  for (const added of ['purpose', 'source', 'claim', 'origin', 'branch', 'setback', 'made', 'snapshot']) {
    delete earlier.context[added];
  }
  for (const added of ['pause_waiters', 'branch_waiters']) delete earlier.context[added];
  expect(vmDefinition.upcasters?.[1]?.(earlier)).toMatchObject({ value: 'ready', context });
});

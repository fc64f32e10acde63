import { beforeEach, describe, expect, test } from 'vitest';
import { ActorInMemory, Clock } from '../testing/actor-in-memory.ts';
import { deadlinesOf, explore, statesOf } from '../testing/explore.ts';
import { checkAllAnswered } from '../testing/invariants.ts';
import { createVm, destroyVm } from '../testing/samples.ts';
import { admitIncarnation } from './admission.ts';
import { vmDefinition } from './definition.ts';
import type { VmContext, VmEvent, VmUndo } from './events.ts';
import { vmMachine } from './machine.ts';
import { vmReport } from './project.ts';

const ID = 'sb1.1';
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

/** The way to `ready`, as far as wanted. */
const WAY = [
  ['vm.admit', { type: 'ADMITTED' }],
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
    { type: 'ADMITTED' },
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
    createVm(),
    destroyVm(),
  ];
  const distinguish = ({ undo, spec }: VmContext) => [undo, spec === null];
  const explored = explore({ definition: vmDefinition, id: ID, create: createVm(), events, distinguish });

  test('every state is reached, and every transition is taken', () => {
    expect(statesOf(vmMachine).filter((state) => !explored.states.has(state))).toEqual([]);
    // The first state is left before anything can be sent to it; a tombstone's way is tested below.
    expect(explored.untaken.filter((name) => !name.startsWith('deciding'))).toEqual([]);
  });

  test('every work state has a deadline (I3)', () => {
    const work = deadlinesOf(vmMachine);
    expect(work.map(({ state }) => state)).toEqual([
      'queued',
      'preparing.slot',
      'preparing.rootfs',
      'preparing.launch',
      'booting',
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
    vm.result('vm.admit', { type: 'ADMITTED' });
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

describe('whatever ends it, exactly what was begun is undone, in reverse (I5)', () => {
  const begun: [steps: number, undo: VmUndo[]][] = [
    [0, []],
    [1, ['unslot']],
    [2, ['unroot', 'unslot']],
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

import { describe, expect, test } from 'vitest';
import { ActorInMemory } from '../testing/actor-in-memory.ts';
import { createVm, destroyVm } from '../testing/samples.ts';
import { testClock } from '../testing/test-clock.ts';
import { EXITED, FAILED, FROZEN, GUEST, ID, ORIGIN, PUBLISHED, release, SNAPSHOT, WAY } from '../testing/vm-steps.ts';
import { vmDefinition } from './definition.ts';
import type { VmContext, VmEvent } from './events.ts';
import { isSandboxVm } from './project.ts';

const clock = testClock();

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

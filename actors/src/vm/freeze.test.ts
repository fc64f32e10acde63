import { describe, expect, test } from 'vitest';
import { ActorInMemory } from '../testing/actor-in-memory.ts';
import { checkAllAnswered } from '../testing/invariants.ts';
import { createVm, destroyVm } from '../testing/samples.ts';
import { testClock } from '../testing/test-clock.ts';
import {
  branch,
  EXITED,
  FAILED,
  FROZEN,
  GUEST,
  PUBLISHED,
  pause,
  release,
  SNAPSHOT,
  vmAfter,
  WAY,
} from '../testing/vm-steps.ts';
import { vmDefinition } from './definition.ts';
import type { VmContext } from './events.ts';
import { vmReport } from './project.ts';

const clock = testClock();

describe('pause (SN1)', () => {
  const PAUSE_WAY = [
    ['vm.quiesce', { type: 'QUIESCED', ...FROZEN }],
    ['vm.save', { type: 'SAVED', ...FROZEN }],
    ['vm.publish', PUBLISHED],
  ] as const;
  const pausedAfter = (steps: number): ActorInMemory<VmContext> => {
    const vm = vmAfter(clock, 5);
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

  test('the deadline comes when its manifest is there: published is published (I2)', () => {
    const vm = pausedAfter(2);
    vm.fire('SAVE_DEADLINE');
    vm.result('vm.continue', PUBLISHED);
    expect(release(vm)).toEqual(['kill', 'unslot']);
    expect(vm.path).toBe('paused');
    expect(vm.context.setback).toBeNull();
    expect(vm.answers.get('pause')).toMatchObject([{ ok: true, value: { status: 'paused', snapshot: SNAPSHOT } }]);
  });

  test.each([
    ['published after all', 2, 'publishing'],
    ['has crashed where it was not saved', 1, 'crashed'],
  ])('the host is down until after the deadline, its VMM gone with it: %s (hazard 7)', (_, steps, path) => {
    const vm = pausedAfter(steps);
    vm.fire('SAVE_DEADLINE');
    vm.send(EXITED);
    expect(vm.path).toBe(path);
    if (path === 'crashed') return;
    vm.result('vm.publish', PUBLISHED);
    release(vm);
    expect(vm.path).toBe('paused');
    expect(vm.answers.get('pause')).toMatchObject([{ ok: true }]);
  });

  test('saved, but its guest ran on before its VMM ended: publishing finds nothing, it has crashed', () => {
    const vm = pausedAfter(2);
    vm.fire('SAVE_DEADLINE');
    vm.send(EXITED);
    vm.result('vm.publish', FAILED);
    vm.result('vm.continue', { ...FAILED, step: 'continue', code: 'guest_lost' });
    expect(vm.path).toBe('crashed');
    vm.fire('AT_ONCE');
    expect(release(vm)).toEqual(['kill', 'unroot', 'unslot']);
    expect(vm.answers.get('pause')).toMatchObject([{ ok: false, error: { code: 'guest_lost' } }]);
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
    const vm = vmAfter(clock, 5);
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

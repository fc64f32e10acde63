import { and } from '@wrenn/core';
import { sandboxSetup } from '../answers.ts';
import { byHostDeletion, destroyed, failed, released, unreachable } from './ends.ts';
import { runningOperation } from './operation.ts';

const idle = sandboxSetup.createStateConfig({
  initial: 'deciding',
  on: { PATCH: { target: '.deciding', actions: 'applyPatch' } },
  states: {
    deciding: { always: [{ guard: 'hasTimeout', target: 'armed' }, { target: 'off' }] },
    off: {
      description: '`timeout_sec` is 0.',
      on: { PING: { actions: 'touch' } },
    },
    armed: {
      description: 'Waits for what is left of `timeout_sec` since the last activity it knows of.',
      after: {
        IDLE: [
          { guard: 'isBusy', target: 'armed', reenter: true },
          {
            guard: 'pausesOnTimeout',
            target: '#sandbox.pausing',
            actions: { type: 'pauseBecause', params: { cause: 'idle' } },
          },
          { target: 'checking' },
        ],
      },
      on: { PING: { target: 'armed', reenter: true, actions: 'touch' } },
    },
    checking: {
      description: '`on_timeout` is destroy: asks the host to do so if it has been idle for `timeout_sec`.',
      tags: ['work'],
      entry: { type: 'effect', params: { name: 'vm.idle_check' } },
      // Nothing is decided by it: the next check, or the host's own report, tells what came of this one.
      after: { IDLE_CHECK_DEADLINE: 'armed' },
      on: {
        ACTIVE: { guard: 'sameIncarnation', target: 'deciding', actions: 'touchAgo' },
        RELEASED: {
          guard: 'sameIncarnation',
          target: '#sandbox.stopped',
          actions: ['noteReleased', { type: 'blame', params: { code: 'idle_timeout' } }, 'auditAutoDestroy'],
        },
        PING: { actions: 'touch' },
        PATCH: { actions: 'applyPatch' },
      },
    },
  },
});

const lifetime = sandboxSetup.createStateConfig({
  initial: 'deciding',
  on: { PATCH: '.deciding' },
  states: {
    deciding: { always: [{ guard: 'hasEnd', target: 'armed' }, { target: 'off' }] },
    off: { description: '`ends_at` is not set.' },
    armed: {
      description: 'Waits for `ends_at`.',
      after: {
        LIFETIME: [
          { guard: and(['pausesAtEnd', 'isBusy']), target: 'armed', reenter: true },
          {
            guard: 'pausesAtEnd',
            target: '#sandbox.pausing',
            actions: { type: 'pauseBecause', params: { cause: 'lifetime' } },
          },
          {
            target: '#sandbox.stopping',
            actions: [{ type: 'blame', params: { code: 'lifetime_ended' } }, 'auditAutoDestroy'],
          },
        ],
      },
    },
  },
});

const pausedByItself = [{ type: 'pauseBecause', params: { cause: 'request' } }, 'notePaused'] as const;

export const running = sandboxSetup.createStateConfig({
  description: 'The VM is ready. Three regions run beside each other: idleness, lifetime, and what is done to it.',
  tags: ['rest', 'holds-vm'],
  entry: [
    { type: 'enter', params: { status: 'running' } },
    'answerCreated',
    'answerNotPaused',
    'answerResumed',
    'settle',
  ],
  type: 'parallel',
  on: {
    PAUSE: {
      guard: 'isFree',
      target: 'pausing',
      actions: [
        { type: 'pauseBecause', params: { cause: 'request' } },
        'addPauser',
        { type: 'audit', params: { action: 'sandbox.pause', status: 'success' } },
      ],
    },
    RESUME: { guard: 'joins', actions: 'answerRunning' },
    // A pause of which nothing more was expected, or one that its host decided on.
    VM_PAUSED: { guard: 'sameIncarnation', target: 'paused', actions: pausedByItself },
    VM_DIED: { guard: 'sameIncarnation', target: 'error', actions: failed },
    // A report may tell only of the end, when nothing is left.
    VM_FAILED: { guard: 'sameIncarnation', target: 'error', actions: [...failed, 'noteVmGone'] },
    RELEASED: { guard: 'sameIncarnation', target: 'stopped', actions: released('released_by_host') },
    HOST_LOST: { guard: 'sameHost', target: 'missing', actions: unreachable },
    HOST_BACK: [
      { guard: and(['sameHost', 'isPaused']), target: 'paused', actions: pausedByItself },
      {
        guard: and(['sameHost', 'isEarlierPaused']),
        target: 'error',
        actions: ['noteReport', { type: 'blame', params: { code: 'memory_lost' } }],
      },
      { guard: and(['sameHost', 'hasFailed']), target: 'stopping', actions: failed },
      {
        guard: and(['sameHost', 'goneForSure']),
        target: 'stopping',
        actions: { type: 'blame', params: { code: 'lost_on_host' } },
      },
      {
        guard: and(['sameHost', 'fromAnotherStore']),
        target: 'missing',
        actions: ['noteAway', { type: 'blame', params: { code: 'host_without_data' } }],
      },
    ],
    HOST_DELETED: byHostDeletion,
    DESTROY: { target: 'stopping', actions: ['takeDestroyer', ...destroyed] },
  },
  states: { idle, lifetime, operation: runningOperation },
});

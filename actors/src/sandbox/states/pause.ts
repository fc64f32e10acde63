import { and } from '@wrenn/core';
import { sandboxSetup } from '../answers.ts';
import { byHostDeletion, destroyed, failed, released, unreachable } from './ends.ts';
import { pausedOperation } from './operation.ts';

/** What the host's word "paused" leads to: rest, or at once on, where traffic has come for it meanwhile. */
const whenPaused = [
  {
    guard: and(['isPaused', 'isWanted']),
    target: '#sandbox.resuming',
    actions: ['notePaused', 'answerPaused', 'auditAutoPause', 'wake'],
  },
  { guard: 'isPaused', target: '#sandbox.paused', actions: ['notePaused', 'auditAutoPause'] },
] as const;

const impossible = [{ type: 'blame', params: { code: 'pause_impossible' } }, 'auditAutoDestroy'] as const;

export const pausing = sandboxSetup.createStateConfig({
  description: 'The host freezes it into files and releases the rest. Refused with ACTIVE it runs on, the timer anew.',
  tags: ['work', 'holds-vm'],
  entry: [
    { type: 'enter', params: { status: 'pausing' } },
    { type: 'effect', params: { name: 'vm.pause' } },
  ],
  initial: 'waiting',
  on: {
    VM_PAUSED: [
      {
        guard: and(['sameIncarnation', 'isWanted']),
        target: 'resuming',
        actions: ['notePaused', 'answerPaused', 'auditAutoPause', 'wake'],
      },
      { guard: 'sameIncarnation', target: 'paused', actions: ['notePaused', 'auditAutoPause'] },
    ],
    PAUSE_FAILED: [
      { guard: and(['sameIncarnation', 'hasFailedOften']), target: 'stopping', actions: impossible },
      {
        guard: 'sameIncarnation',
        target: 'running',
        actions: ['regretReport', 'notePauseFailure', 'auditNotPaused'],
      },
    ],
    ACTIVE: { guard: 'sameIncarnation', target: 'running', actions: 'touchAgo' },
    VM_DIED: { guard: 'sameIncarnation', target: 'error', actions: failed },
    VM_FAILED: { guard: 'sameIncarnation', target: 'error', actions: [...failed, 'noteVmGone'] },
    RELEASED: { guard: 'sameIncarnation', target: 'stopped', actions: released('released_by_host') },
    HOST_LOST: { guard: 'sameHost', target: 'missing', actions: unreachable },
    HOST_DELETED: byHostDeletion,
    // A timer only asks; somebody wants it whatever the host says of activity.
    PAUSE: {
      guard: 'byTimer',
      target: 'pausing',
      reenter: true,
      actions: [
        { type: 'pauseBecause', params: { cause: 'request' } },
        'addPauser',
        { type: 'audit', params: { action: 'sandbox.pause', status: 'success' } },
      ],
    },
    RESUME: { guard: 'joins', actions: 'addResumer' },
    PING: { guard: 'byTimer', actions: 'touch' },
    PATCH: { actions: 'applyPatch' },
    DESTROY: { target: 'stopping', actions: ['takeDestroyer', ...destroyed] },
  },
  states: {
    waiting: {
      tags: ['work'],
      after: { PAUSE_DEADLINE: 'inspecting' },
    },
    inspecting: {
      description: 'Asks the host what is true. `vm.pause` stays open: its result is as good as the report.',
      tags: ['work'],
      entry: { type: 'effect', params: { name: 'vm.inspect_pause' } },
      after: { INSPECT_DEADLINE: { target: '#sandbox.missing', actions: unreachable } },
      on: {
        INSPECTED: [
          ...whenPaused,
          { guard: and(['isReady', 'hasFailedOften']), target: '#sandbox.stopping', actions: impossible },
          {
            guard: 'isReady',
            target: '#sandbox.running',
            actions: [
              'noteReport',
              { type: 'regret', params: { code: 'pause_timeout' } },
              'notePauseFailure',
              'auditNotPaused',
            ],
          },
          { guard: and(['isReleasing', 'mayTakeLonger']), target: 'waiting', actions: ['extend', 'noteReport'] },
          { guard: 'hasFailed', target: '#sandbox.error', actions: failed },
          {
            guard: 'goneForSure',
            target: '#sandbox.stopping',
            actions: { type: 'blame', params: { code: 'lost_on_host' } },
          },
          { target: '#sandbox.missing', actions: ['noteAway', { type: 'blame', params: { code: 'pause_timeout' } }] },
        ],
      },
    },
  },
});

const reach = sandboxSetup.createStateConfig({
  initial: 'deciding',
  states: {
    deciding: { always: [{ guard: 'isAway', target: 'unreachable' }, { target: 'reachable' }] },
    reachable: {
      description: 'Its host is there.',
      on: {
        HOST_LOST: { guard: 'sameHost', target: 'unreachable', actions: 'noteAway' },
        HOST_BACK: { guard: and(['sameHost', 'fromAnotherStore']), target: 'unreachable', actions: 'noteAway' },
      },
    },
    unreachable: {
      description: 'Its host is away, or has come back without its data.',
      on: { HOST_BACK: { guard: and(['sameHost', 'samePaused']), target: 'reachable', actions: 'noteBack' } },
    },
  },
});

const lifetime = sandboxSetup.createStateConfig({
  initial: 'deciding',
  on: { PATCH: { target: '.deciding', actions: 'applyPatch' } },
  states: {
    deciding: { always: [{ guard: 'endsByKill', target: 'armed' }, { target: 'off' }] },
    off: { description: '`ends_at` is not set, or would pause it.' },
    armed: {
      description: 'Waits for `ends_at`.',
      after: {
        LIFETIME: {
          target: '#sandbox.stopping',
          actions: [{ type: 'blame', params: { code: 'lifetime_ended' } }, 'auditAutoDestroy'],
        },
      },
    },
  },
});

export const paused = sandboxSetup.createStateConfig({
  description: 'Files on its host, and nothing else: no capacity, no address, no process.',
  tags: ['rest'],
  type: 'parallel',
  entry: [{ type: 'enter', params: { status: 'paused' } }, 'answerPaused', 'answerNotResumed'],
  on: {
    RESUME: {
      guard: 'isFree',
      target: 'resuming',
      actions: ['wake', 'addResumer', { type: 'audit', params: { action: 'sandbox.resume', status: 'success' } }],
    },
    RELEASED: { guard: 'samePaused', target: 'stopped', actions: released('lost_on_host') },
    HOST_BACK: {
      // A grave with a reason is that of a resume that failed: what it was made from is there.
      guard: and(['sameHost', 'goneForSure', 'isUnexplained']),
      target: 'stopping',
      actions: ['noteBack', { type: 'blame', params: { code: 'lost_on_host' } }],
    },
    HOST_DELETED: byHostDeletion,
    DESTROY: [
      { guard: 'isAway', target: 'stopping', actions: ['answerStopping', ...destroyed] },
      { target: 'stopping', actions: ['takeDestroyer', ...destroyed] },
    ],
  },
  states: { reach, lifetime, operation: pausedOperation },
});

export const resuming = sandboxSetup.createStateConfig({
  description: 'The next incarnation is made from the snapshot, which stays whole until that one is paused itself.',
  tags: ['work'],
  entry: { type: 'enter', params: { status: 'resuming' } },
  initial: 'reserving',
  on: {
    HOST_DELETED: byHostDeletion,
    RESUME: { guard: 'joins', actions: 'addResumer' },
    PATCH: { actions: 'applyPatch' },
    DESTROY: { target: 'stopping', actions: ['takeDestroyer', ...destroyed] },
  },
  states: {
    reserving: {
      description: 'Takes capacity on its host, where the files are. Nothing was asked of the host yet.',
      tags: ['work'],
      entry: { type: 'effect', params: { name: 'sandbox.reserve' } },
      after: {
        RESERVE_DEADLINE: {
          target: '#sandbox.paused',
          actions: [{ type: 'regret', params: { code: 'no_hosts_available' } }, 'auditNotResumed'],
        },
      },
      on: {
        RESERVED: { target: 'restoring', actions: 'noteBack' },
        PLACE_FAILED: { target: '#sandbox.paused', actions: ['regretReport', 'auditNotResumed'] },
        HOST_LOST: {
          guard: 'sameHost',
          target: '#sandbox.paused',
          actions: ['noteAway', { type: 'regret', params: { code: 'host_unreachable' } }, 'auditNotResumed'],
        },
      },
    },
    restoring: {
      description: 'The host maps the memory, loads the devices, and lets the guest run on.',
      tags: ['work', 'holds-vm'],
      entry: { type: 'effect', params: { name: 'vm.resume' } },
      initial: 'waiting',
      on: {
        VM_READY: { guard: 'sameIncarnation', target: '#sandbox.running', actions: ['noteReady', 'touch'] },
        VM_FAILED: [
          { guard: and(['sameIncarnation', 'isDamaged']), target: '#sandbox.error', actions: failed },
          {
            guard: 'sameIncarnation',
            target: '#sandbox.paused',
            actions: ['regretReport', 'noteReport', 'auditNotResumed'],
          },
        ],
        HOST_LOST: { guard: 'sameHost', target: '#sandbox.missing', actions: unreachable },
      },
      states: {
        waiting: {
          tags: ['work'],
          after: { RESUME_DEADLINE: 'inspecting' },
        },
        inspecting: {
          description: 'Asks the host what is true. `vm.resume` stays open: its result is as good as the report.',
          tags: ['work'],
          entry: { type: 'effect', params: { name: 'vm.inspect_resume' } },
          after: { INSPECT_DEADLINE: { target: '#sandbox.missing', actions: unreachable } },
          on: {
            INSPECTED: [
              { guard: 'isReady', target: '#sandbox.running', actions: ['noteReady', 'touch'] },
              { guard: and(['isStarting', 'mayTakeLonger']), target: 'waiting', actions: ['extend', 'noteReport'] },
              {
                guard: and(['hasFailed', 'isGone']),
                target: '#sandbox.paused',
                actions: ['regretReport', 'noteReport', 'auditNotResumed'],
              },
              { guard: and(['hasFailed', 'mayTakeLonger']), target: 'waiting', actions: ['extend', 'noteReport'] },
              // It has not come there yet, and may still: only when the host has buried it is the sandbox paused again.
              {
                guard: and(['isEarlierPaused', 'mayTakeLonger']),
                target: 'waiting',
                actions: ['extend', 'noteReport'],
              },
              {
                guard: 'goneForSure',
                target: '#sandbox.stopping',
                actions: { type: 'blame', params: { code: 'lost_on_host' } },
              },
              // Asked again by every inventory of the host.
              {
                target: '#sandbox.missing',
                actions: ['noteAway', { type: 'blame', params: { code: 'resume_timeout' } }],
              },
            ],
          },
        },
      },
    },
  },
});

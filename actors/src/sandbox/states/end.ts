import { and } from '@wrenn/core';
import { sandboxSetup } from '../answers.ts';
import { byHostDeletion, destroyed, failed, released } from './ends.ts';

export const missing = sandboxSetup.createStateConfig({
  description: 'Its host cannot be reached, or has come back without its data. What is true is not known.',
  tags: ['rest', 'holds-vm'],
  entry: [
    { type: 'enter', params: { status: 'missing' } },
    'answerNotCreated',
    'answerNotPaused',
    'answerNotResumed',
    'settle',
    'auditMissing',
  ],
  on: {
    HOST_BACK: [
      {
        guard: and(['sameHost', 'isReady']),
        target: 'running',
        actions: ['noteReady', { type: 'audit', params: { action: 'sandbox.recovered', status: 'info' } }],
      },
      {
        guard: and(['sameHost', 'isPaused']),
        target: 'paused',
        actions: ['notePaused', { type: 'audit', params: { action: 'sandbox.recovered', status: 'info' } }],
      },
      // Its resume was accepted and has its reservation: it is asked for again, and its answer says how it went.
      {
        guard: and(['sameHost', 'wasResuming', 'isStarting']),
        target: '#sandbox.resuming.restoring',
        actions: ['absolve', 'noteBack', 'noteReport'],
      },
      {
        guard: and(['sameHost', 'wasResuming', 'hasFailed']),
        target: '#sandbox.resuming.restoring',
        actions: ['absolve', 'noteBack', 'noteReport'],
      },
      {
        guard: and(['sameHost', 'wasResuming', 'isEarlierPaused']),
        target: '#sandbox.resuming.restoring',
        actions: ['absolve', 'noteBack', 'noteReport'],
      },
      {
        guard: and(['sameHost', 'isStarting']),
        target: 'starting',
        actions: ['absolve', 'noteBack', 'noteReport'],
      },
      { guard: and(['sameHost', 'hasFailed']), target: 'stopping', actions: failed },
      {
        guard: and(['sameHost', 'isEarlierPaused']),
        target: 'error',
        actions: ['noteBack', 'noteReport', { type: 'blame', params: { code: 'memory_lost' } }],
      },
      {
        guard: and(['sameHost', 'goneForSure']),
        target: 'stopping',
        actions: ['noteBack', { type: 'blame', params: { code: 'lost_on_host' } }],
      },
    ],
    VM_PAUSED: { guard: 'sameIncarnation', target: 'paused', actions: 'notePaused' },
    // What could not be resumed is still paused.
    VM_DIED: { guard: and(['sameIncarnation', 'wasNotResuming']), target: 'stopping', actions: failed },
    VM_FAILED: [
      {
        guard: and(['sameIncarnation', 'wasResuming']),
        target: 'paused',
        actions: ['noteBack', 'regretReport', 'noteReport', 'auditNotResumed'],
      },
      { guard: 'sameIncarnation', target: 'stopping', actions: failed },
    ],
    RELEASED: { guard: 'sameIncarnation', target: 'stopped', actions: released('lost_on_host') },
    HOST_DELETED: byHostDeletion,
    PATCH: { actions: 'applyPatch' },
    DESTROY: { target: 'stopping', actions: ['answerStopping', ...destroyed] },
  },
});

export const stopping = sandboxSetup.createStateConfig({
  description: 'The host releases everything and buries the incarnation. Repeated until it has.',
  tags: ['work', 'holds-vm'],
  entry: [
    { type: 'enter', params: { status: 'stopping' } },
    'answerNotPaused',
    'answerNotResumed',
    { type: 'effect', params: { name: 'vm.destroy' } },
  ],
  after: { STOP_REVIEW: { target: 'stopping', reenter: true } },
  on: {
    RELEASED: [
      { guard: and(['sameIncarnation', 'endsInError']), target: 'error', actions: 'noteReleased' },
      { guard: 'sameIncarnation', target: 'stopped', actions: 'noteReleased' },
    ],
    HOST_DELETED: [
      { guard: and(['sameHost', 'endsInError']), target: 'error', actions: 'noteReleased' },
      { guard: 'sameHost', target: 'stopped', actions: 'noteReleased' },
    ],
    // Askers need not wait for a host that is away.
    HOST_LOST: { guard: 'sameHost', actions: ['noteAway', 'answerNotCreated', 'answerDestroyers', 'settle'] },
    HOST_BACK: { guard: and(['sameHost', 'isAway']), target: 'stopping', reenter: true, actions: 'noteBack' },
    DESTROY: { actions: ['takeDestroyer', 'stopForGood'] },
  },
});

export const error = sandboxSetup.createStateConfig({
  description: 'It failed. Reason and console are kept until it is destroyed.',
  tags: ['rest'],
  entry: [
    { type: 'enter', params: { status: 'error' } },
    'answerNotCreated',
    'answerNotPaused',
    'answerNotResumed',
    'answerDestroyers',
    'settle',
    'auditError',
  ],
  on: {
    // A destroy for idleness that was under way when the VM died takes its earlier snapshot along.
    RELEASED: { guard: 'samePaused', actions: 'forgetPause' },
    HOST_DELETED: { guard: 'sameHost', actions: 'noteReleased' },
    DESTROY: [
      {
        guard: 'holdsNothing',
        target: 'stopped',
        actions: ['addDestroyer', { type: 'audit', params: { action: 'sandbox.destroy', status: 'success' } }],
      },
      {
        target: 'stopping',
        actions: [
          'takeDestroyer',
          'stopForGood',
          { type: 'audit', params: { action: 'sandbox.destroy', status: 'success' } },
        ],
      },
    ],
  },
});

export const stopped = sandboxSetup.createStateConfig({
  description: 'Nothing is left of it but its row and its journal.',
  type: 'final',
  entry: [
    { type: 'enter', params: { status: 'stopped' } },
    'answerNotCreated',
    'answerNotPaused',
    'answerNotResumed',
    'answerDestroyers',
    'settle',
  ],
});

import { and } from '@wrenn/core';
import { sandboxSetup } from '../answers.ts';
import { byHostDeletion, destroyed, failed, released, unreachable } from './ends.ts';

export const placing = sandboxSetup.createStateConfig({
  description: 'Looks for a host with room, in the order of the scheduler.',
  tags: ['work'],
  entry: [
    { type: 'enter', params: { status: 'pending' } },
    'nextIncarnation',
    { type: 'effect', params: { name: 'sandbox.place' } },
  ],
  after: {
    PLACE_DEADLINE: [
      { guard: 'hasFailedBefore', target: 'error' },
      { target: 'error', actions: { type: 'blame', params: { code: 'no_hosts_available' } } },
    ],
  },
  on: {
    RESERVED: { target: 'starting', actions: 'reserve' },
    PLACE_FAILED: [
      { guard: 'hasFailedBefore', target: 'error' },
      { target: 'error', actions: 'blameReport' },
    ],
    PATCH: { actions: 'applyPatch' },
    // Nothing was asked of any host yet.
    DESTROY: { target: 'stopped', actions: ['addDestroyer', ...destroyed] },
  },
});

export const starting = sandboxSetup.createStateConfig({
  description: 'The host makes network, disk and VM. The deadline asks the host and does not decide.',
  tags: ['work', 'holds-vm'],
  entry: [
    { type: 'enter', params: { status: 'starting' } },
    { type: 'effect', params: { name: 'vm.create' } },
  ],
  initial: 'waiting',
  on: {
    VM_READY: { guard: 'sameIncarnation', target: 'running', actions: 'noteReady' },
    VM_FAILED: [
      {
        guard: and(['sameIncarnation', 'mayTryAnotherHost']),
        target: 'placing',
        actions: ['blameReport', 'excludeHost'],
      },
      { guard: 'sameIncarnation', target: 'stopping', actions: failed },
    ],
    VM_DIED: { guard: 'sameIncarnation', target: 'stopping', actions: failed },
    RELEASED: { guard: 'sameIncarnation', target: 'error', actions: released('released_by_host') },
    HOST_LOST: { guard: 'sameHost', target: 'missing', actions: unreachable },
    HOST_DELETED: byHostDeletion,
    PATCH: { actions: 'applyPatch' },
    DESTROY: { target: 'stopping', actions: ['takeDestroyer', ...destroyed] },
  },
  states: {
    waiting: {
      tags: ['work'],
      after: { START_DEADLINE: 'inspecting' },
    },
    inspecting: {
      description: 'Asks the host what is true. `vm.create` stays open: its result is as good as the report.',
      tags: ['work'],
      entry: { type: 'effect', params: { name: 'vm.inspect' } },
      after: { INSPECT_DEADLINE: { target: '#sandbox.missing', actions: unreachable } },
      on: {
        INSPECTED: [
          { guard: 'isReady', target: '#sandbox.running', actions: 'noteReady' },
          { guard: and(['isStarting', 'mayTakeLonger']), target: 'waiting', actions: ['extend', 'noteReport'] },
          {
            guard: and(['hasFailed', 'isGone', 'mayTryAnotherHost']),
            target: '#sandbox.placing',
            actions: ['blameReport', 'excludeHost'],
          },
          { guard: 'hasFailed', target: '#sandbox.stopping', actions: failed },
          {
            target: '#sandbox.stopping',
            actions: [{ type: 'blame', params: { code: 'start_timeout' } }, 'noteReport'],
          },
        ],
      },
    },
  },
});

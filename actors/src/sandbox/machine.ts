import { and } from '@wrenn/core';
import { sandboxSetup } from './setup.ts';

const destroyed = [
  { type: 'blame', params: { code: 'destroyed' } },
  { type: 'audit', params: { action: 'sandbox.destroy', status: 'success' } },
] as const;
const unreachable = ['noteAway', { type: 'blame', params: { code: 'host_unreachable' } }] as const;
const released = (code: 'released_by_host' | 'lost_on_host' | 'host_deleted') =>
  ['noteReleased', { type: 'blame', params: { code } }, 'auditEnd'] as const;

/**
 * The life of a sandbox, as the control plane decides it.
 *
 * It is placed on a host (`placing`), started there (`starting`), lives (`running`), and ends in `stopped`, or in
 * `error`, which keeps what can be inspected until it is destroyed. Between, its host may get lost: `missing` is a rest
 * that is left again when the host comes back and says what is true. Pausing, resuming and branching are not in this
 * version; they will stand beside `running` and in its region `operation`.
 *
 * Who sends what: CREATE, DESTROY, PATCH and PING are commands of people and programs. RESERVED comes from the
 * transaction that reserves capacity, so that a sandbox in `starting` always has a reservation and one that leaves
 * the states that hold a VM has none (I6). VM_…, RELEASED, ACTIVE and INSPECTED are what a host reports, as the result of
 * an effect or on its own; HOST_… come from the actor of the host.
 *
 * Rules that the states keep:
 * - Every start has a new incarnation, and reports of another one are not heard (I1). A start that failed terminally is
 *   left through `stopping`, whose `vm.destroy` buries the incarnation on the host before anything else may happen.
 * - A deadline of work on a host never decides: it asks the host (`inspecting`), whose report does. No report: `missing`.
 *   Only a deadline before any host is involved (`placing`) decides by itself.
 * - `stopping` ends only with RELEASED or with the host's deletion. It is repeated for ever, and seen.
 * - Idleness is decided on the host, which alone counts activity: the timer asks "destroy it if idle for so long",
 *   and the answer ACTIVE sets the timer anew (SN7; pausing is not possible yet, so an idle sandbox is destroyed).
 * - CREATE is answered once: at `running`, or with the reason at `error`, `stopped` or `missing`. DESTROY is answered at
 *   `stopped`, or with status `stopping` where the host is away (I8).
 */
export const sandboxMachine = sandboxSetup.createMachine({
  id: 'sandbox',
  context: ({ input }) => ({
    sandbox_id: input?.sandbox_id ?? '',
    spec: input?.event.spec,
    created_at: input?.meta.at ?? 0,
    status: 'pending',
    status_since: input?.meta.at ?? 0,
    incarnation: 0,
    host_id: null,
    host_ip: null,
    guest_ip: null,
    excluded_hosts: [],
    extensions: 0,
    seen: null,
    started_at: null,
    last_active_at: null,
    timings_ms: {},
    reason: null,
    console_tail: null,
    away: false,
    released: true,
    stop_as: 'stopped',
    create_waiter: input?.event.wait === false ? null : (input?.meta.id ?? null),
    destroy_waiters: [],
  }),
  entry: ['answerUnwaited', 'auditCreate'],
  initial: 'placing',
  states: {
    placing: {
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
        DESTROY: { target: 'stopped', actions: ['addDestroyer', ...destroyed] },
      },
    },

    starting: {
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
          { guard: 'sameIncarnation', target: 'stopping', actions: ['blameReport', 'noteReport'] },
        ],
        VM_DIED: { guard: 'sameIncarnation', target: 'stopping', actions: ['blameReport', 'noteReport'] },
        RELEASED: { guard: 'sameIncarnation', target: 'error', actions: released('released_by_host') },
        HOST_LOST: { guard: 'sameHost', target: 'missing', actions: unreachable },
        HOST_DELETED: { guard: 'sameHost', target: 'stopped', actions: released('host_deleted') },
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
              { guard: 'hasFailed', target: '#sandbox.stopping', actions: ['blameReport', 'noteReport'] },
              {
                target: '#sandbox.stopping',
                actions: [{ type: 'blame', params: { code: 'start_timeout' } }, 'noteReport'],
              },
            ],
          },
        },
      },
    },

    running: {
      description: 'The VM is ready. Three regions run beside each other: idleness, lifetime, and what is done to it.',
      tags: ['rest', 'holds-vm'],
      entry: [{ type: 'enter', params: { status: 'running' } }, 'answerCreated'],
      type: 'parallel',
      on: {
        VM_DIED: { guard: 'sameIncarnation', target: 'error', actions: ['blameReport', 'noteReport'] },
        // A report may tell only of the end, when nothing is left.
        VM_FAILED: {
          guard: 'sameIncarnation',
          target: 'error',
          actions: ['blameReport', 'noteReport', 'noteReleased'],
        },
        RELEASED: { guard: 'sameIncarnation', target: 'stopped', actions: released('released_by_host') },
        HOST_LOST: { guard: 'sameHost', target: 'missing', actions: unreachable },
        HOST_BACK: [
          { guard: and(['sameHost', 'hasFailed']), target: 'stopping', actions: ['blameReport', 'noteReport'] },
          {
            guard: and(['sameHost', 'goneForSure']),
            target: 'stopping',
            actions: [{ type: 'blame', params: { code: 'lost_on_host' } }],
          },
          {
            guard: and(['sameHost', 'fromAnotherStore']),
            target: 'missing',
            actions: ['noteAway', { type: 'blame', params: { code: 'host_without_data' } }],
          },
        ],
        HOST_DELETED: { guard: 'sameHost', target: 'stopped', actions: released('host_deleted') },
        DESTROY: { target: 'stopping', actions: ['takeDestroyer', ...destroyed] },
      },
      states: {
        idle: {
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
              after: { IDLE: 'checking' },
              on: { PING: { target: 'armed', reenter: true, actions: 'touch' } },
            },
            checking: {
              description: 'Asks the host to destroy it if it has been idle for `timeout_sec`.',
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
        },
        lifetime: {
          initial: 'deciding',
          on: { PATCH: '.deciding' },
          states: {
            deciding: { always: [{ guard: 'hasEnd', target: 'armed' }, { target: 'off' }] },
            off: { description: '`ends_at` is not set.' },
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
        },
        operation: {
          initial: 'none',
          states: { none: { description: 'Nothing is done to it; snapshots and forks will be work here.' } },
        },
      },
    },

    missing: {
      description: 'Its host cannot be reached, or has come back without its data. What is true is not known.',
      tags: ['rest', 'holds-vm'],
      entry: [{ type: 'enter', params: { status: 'missing' } }, 'answerNotCreated', 'auditMissing'],
      on: {
        HOST_BACK: [
          {
            guard: and(['sameHost', 'isReady']),
            target: 'running',
            actions: ['noteReady', { type: 'audit', params: { action: 'sandbox.recovered', status: 'info' } }],
          },
          {
            guard: and(['sameHost', 'isStarting']),
            target: 'starting',
            actions: ['absolve', 'noteBack', 'noteReport'],
          },
          { guard: and(['sameHost', 'hasFailed']), target: 'stopping', actions: ['blameReport', 'noteReport'] },
          {
            guard: and(['sameHost', 'goneForSure']),
            target: 'stopping',
            actions: ['noteBack', { type: 'blame', params: { code: 'lost_on_host' } }],
          },
        ],
        VM_DIED: { guard: 'sameIncarnation', target: 'stopping', actions: ['blameReport', 'noteReport'] },
        VM_FAILED: { guard: 'sameIncarnation', target: 'stopping', actions: ['blameReport', 'noteReport'] },
        RELEASED: { guard: 'sameIncarnation', target: 'stopped', actions: released('lost_on_host') },
        HOST_DELETED: { guard: 'sameHost', target: 'stopped', actions: released('host_deleted') },
        PATCH: { actions: 'applyPatch' },
        DESTROY: { target: 'stopping', actions: ['answerStopping', ...destroyed] },
      },
    },

    stopping: {
      description: 'The host releases everything and buries the incarnation. Repeated until it has.',
      tags: ['work', 'holds-vm'],
      entry: [
        { type: 'enter', params: { status: 'stopping' } },
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
        HOST_LOST: { guard: 'sameHost', actions: ['noteAway', 'answerNotCreated', 'answerDestroyers'] },
        HOST_BACK: { guard: and(['sameHost', 'hostWasAway']), target: 'stopping', reenter: true, actions: 'noteBack' },
        DESTROY: { actions: ['takeDestroyer', 'stopForGood'] },
      },
    },

    error: {
      description: 'It failed. Reason and console are kept until it is destroyed.',
      tags: ['rest'],
      entry: [{ type: 'enter', params: { status: 'error' } }, 'answerNotCreated', 'answerDestroyers', 'auditError'],
      on: {
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
    },

    stopped: {
      description: 'Nothing is left of it but its row and its journal.',
      type: 'final',
      entry: [{ type: 'enter', params: { status: 'stopped' } }, 'answerNotCreated', 'answerDestroyers'],
    },
  },
});

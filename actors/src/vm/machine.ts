import { FREEZE_FAILED, FREEZE_INTERRUPTED, FREEZE_TIMED_OUT, PUBLISH_TIMED_OUT } from './given-up.ts';
import { vmSetup } from './setup.ts';

/**
 * One incarnation of a sandbox on its host: what the agent does for it, and what must be undone.
 *
 * `queued` finds what it starts from; `preparing` makes the network slot, the disk and the VMM process, or takes over a
 * warm VM that has them; `booting` waits for a guest that starts by its kernel, `restoring` loads a frozen one and tells it
 * who it is; `ready` is the rest in which bytes flow past this actor. `branching` freezes the guest for a moment and
 * publishes what was frozen; a pause goes through `quiescing`, `saving` and `publishing` to `paused`, a rest that holds
 * files only. Whatever ends it leads through `releasing`, which undoes what was begun, in reverse, and ends in `paused` or
 * `gone`. `gone` is the grave: it stays, so that a create that arrives late is refused (I1; over all incarnations of a
 * sandbox see admission.ts).
 *
 * Rules that the states keep:
 * - `undo` names all steps of a start before the first is begun. A crash of the agent at any point therefore finds
 *   everything that may exist in the list, and undoing what is not there is no error (I5).
 * - An undo is repeated until it is done: nothing is forgotten because the kernel was busy. What is undone is struck off
 *   the list by its own name: a DESTROY in the last undo of a pause puts the files back before it.
 * - The time of a start counts from the admission; the queue has a deadline of its own.
 * - A pause or branch that fails before its snapshot is published goes through `continuing` to `ready`: the guest runs on,
 *   and who asked hears why. A guest that cannot be made to run on has `crashed`. A published one is never taken back: a
 *   pause whose deadline comes in the last moment, or while no agent runs, is found to be published in `continuing`, and one
 *   that is saved and has no VMM to run on is published after all.
 * - A `paused` incarnation goes when it is destroyed, or when one that was resumed from it is paused itself (SUPERSEDED).
 * - CREATE is answered at `ready`, or with the failure at `gone`: who hears of a failure knows that nothing is left, and
 *   may start the next incarnation elsewhere. DESTROY is answered at `gone`.
 * - DESTROY of an incarnation that was never seen makes its grave at once (`creates`).
 *
 * Some VMs are no sandboxes: one of purpose `boot` goes from `booting` straight to the pause whose snapshot is the
 * boot snapshot of a template and size class; one of purpose `warm` is restored and `parked`, stopped, until a CLAIM hands
 * all that it holds to a sandbox, whose own first commit names it (never handed out twice); one of purpose `waiting` is
 * parked before it is restored.
 *
 * A guest whose write finds no room on the host is stopped by its VMM. That changes nothing here, so that every command is
 * as legal as before: STALLED and STALL_ENDED are in the journal for whoever wonders why the guest does not answer.
 *
 * Who sends what: CREATE, PAUSE, BRANCH and DESTROY come from the control plane; ADMITTED … CONTINUED, STEP_FAILED and
 * UNDONE are results of effects; VMM_EXITED comes from the pidfd of the process, STALLED from the VMM; a restarted agent compares each actor with
 * the kernel and sends ADOPTED, INTERRUPTED or VMM_EXITED. A step of a start that was in flight then is simply done again.
 */
export const vmMachine = vmSetup.createMachine({
  id: 'vm',
  context: ({ input }) => {
    const event = input?.event;
    const create = event?.type === 'CREATE' ? event : null;
    return {
      sandbox_id: event?.sandbox_id ?? '',
      incarnation: event?.incarnation ?? 0,
      epoch: event?.epoch ?? 0,
      team_id: create?.spec.team_id ?? null,
      spec: create?.spec ?? null,
      purpose: create?.purpose ?? 'sandbox',
      source: create?.source ?? { kind: 'kernel' },
      claim: create?.claim ?? null,
      origin: null,
      budget_ms: create?.budget_ms ?? 0,
      created_at: input?.meta.at ?? 0,
      admitted_at: null,
      slot: null,
      disk: null,
      vmm: null,
      timings_ms: {},
      undo: [],
      failure: null,
      branch: null,
      setback: null,
      made: null,
      snapshot: null,
      console_tail: null,
      create_waiters: event?.type === 'CREATE' ? [input.meta.id] : [],
      destroy_waiters: event?.type === 'DESTROY' ? [input.meta.id] : [],
      pause_waiters: [],
      branch_waiters: [],
      adoptions: 0,
    };
  },
  initial: 'deciding',
  states: {
    deciding: {
      always: [
        { guard: 'isTombstone', target: 'gone' },
        { guard: 'isClaim', target: 'preparing.claim', actions: 'noteClaiming' },
        { target: 'queued' },
      ],
    },

    queued: {
      description: 'Finds what it starts from: a place among the cold boots, or a frozen VM.',
      tags: ['work'],
      entry: { type: 'effect', params: { name: 'vm.admit' } },
      after: { QUEUE_DEADLINE: { target: 'gone', actions: { type: 'blame', params: { code: 'admission_timeout' } } } },
      on: {
        ADMITTED: { target: 'preparing', actions: ['noteAdmitted', 'willUndoStart'] },
        STEP_FAILED: { target: 'gone', actions: 'noteStepFailed' },
        CREATE: { actions: 'addCreator' },
        DESTROY: { target: 'gone', actions: 'addDestroyer' },
      },
    },

    preparing: {
      description: 'Makes what the VM needs, one step after the other.',
      tags: ['work', 'admitted'],
      after: { START_DEADLINE: { target: 'releasing', actions: { type: 'blame', params: { code: 'start_timeout' } } } },
      on: {
        STEP_FAILED: { target: 'releasing', actions: 'noteStepFailed' },
        VMM_EXITED: { target: 'releasing', actions: 'noteEarlyExit' },
        CREATE: { actions: 'addCreator' },
        DESTROY: { target: 'releasing', actions: 'addDestroyer' },
      },
      initial: 'slot',
      states: {
        claim: {
          description: 'Takes a warm VM over, with its slot, disk and process.',
          tags: ['work'],
          entry: { type: 'effect', params: { name: 'vm.claim' } },
          on: {
            CLAIMED: { target: '#vm.restoring', actions: 'noteClaimed' },
            CLAIM_LOST: { target: '#vm.queued', actions: 'dropClaim' },
          },
        },
        slot: {
          description: 'Network slot: namespace, veth, tap, addresses, rules.',
          tags: ['work'],
          entry: { type: 'effect', params: { name: 'vm.slot' } },
          on: { SLOT_READY: { target: 'rootfs', actions: 'noteSlot' } },
        },
        rootfs: {
          description: 'Its folder: the disk over what it starts from, and links to all that it needs of it.',
          tags: ['work'],
          entry: { type: 'effect', params: { name: 'vm.rootfs' } },
          on: { ROOTFS_READY: { target: 'launch', actions: 'noteDisk' } },
        },
        launch: {
          description: 'Control group and VMM process, watched by its pidfd.',
          tags: ['work'],
          entry: { type: 'effect', params: { name: 'vm.launch' } },
          on: {
            VMM_STARTED: [
              { guard: 'isWaiting', target: '#vm.parked', actions: 'noteVmm' },
              { guard: 'isRestore', target: '#vm.restoring', actions: 'noteVmm' },
              { target: '#vm.booting', actions: 'noteVmm' },
            ],
          },
        },
      },
    },

    booting: {
      description: 'The guest starts its kernel and envd, which answers its first health check.',
      tags: ['work', 'admitted'],
      entry: { type: 'effect', params: { name: 'vm.await_guest' } },
      after: { START_DEADLINE: { target: 'releasing', actions: { type: 'blame', params: { code: 'start_timeout' } } } },
      on: {
        GUEST_READY: [
          { guard: 'isBoot', target: 'quiescing', actions: 'noteTimings' },
          { target: 'ready', actions: 'noteTimings' },
        ],
        STEP_FAILED: { target: 'releasing', actions: 'noteStepFailed' },
        VMM_EXITED: { target: 'releasing', actions: 'noteEarlyExit' },
        ADOPTED: { actions: 'noteAdopted' },
        CREATE: { actions: 'addCreator' },
        DESTROY: { target: 'releasing', actions: 'addDestroyer' },
      },
    },

    restoring: {
      description: 'Memory and devices are loaded, and the guest is told who it is before its processes run on.',
      tags: ['work', 'admitted'],
      entry: { type: 'effect', params: { name: 'vm.restore' } },
      after: { START_DEADLINE: { target: 'releasing', actions: { type: 'blame', params: { code: 'start_timeout' } } } },
      on: {
        GUEST_READY: [
          { guard: 'isWarm', target: 'parked', actions: 'noteTimings' },
          { target: 'ready', actions: 'noteTimings' },
        ],
        STEP_FAILED: { target: 'releasing', actions: 'noteStepFailed' },
        VMM_EXITED: { target: 'releasing', actions: 'noteEarlyExit' },
        ADOPTED: { actions: 'noteAdopted' },
        CREATE: { actions: 'addCreator' },
        DESTROY: { target: 'releasing', actions: 'addDestroyer' },
      },
    },

    ready: {
      description: 'The guest answers. The process is watched, its activity counted.',
      tags: ['rest'],
      entry: ['answerCreators', 'answerOperation'],
      on: {
        PAUSE: { target: 'quiescing', actions: 'addPauser' },
        BRANCH: { target: 'branching', actions: ['addBrancher', 'noteBranch'] },
        VMM_EXITED: { target: 'crashed', actions: 'noteExit' },
        ADOPTED: { actions: 'noteAdopted' },
        STALLED: { actions: [] },
        STALL_ENDED: { actions: [] },
        CREATE: { actions: 'answerReady' },
        DESTROY: { target: 'releasing', actions: 'addDestroyer' },
      },
    },

    parked: {
      description: 'Made ahead of demand: stopped, until a sandbox takes it over.',
      tags: ['rest'],
      entry: 'answerCreators',
      on: {
        CLAIM: { target: 'claimed', actions: 'handOver' },
        VMM_EXITED: { target: 'crashed', actions: 'noteExit' },
        DESTROY: { target: 'releasing', actions: 'addDestroyer' },
      },
    },

    branching: {
      description: 'The guest stands still for a moment while memory, devices and disk are set aside, then runs on.',
      tags: ['work'],
      on: {
        STEP_FAILED: { target: 'continuing', actions: 'noteSetback' },
        INTERRUPTED: { target: 'continuing', actions: { type: 'setback', params: { code: 'interrupted' } } },
        VMM_EXITED: { target: 'crashed', actions: 'noteExit' },
        CREATE: { actions: 'answerReady' },
        DESTROY: { target: 'releasing', actions: 'addDestroyer' },
      },
      after: { SAVE_DEADLINE: { target: 'continuing', actions: { type: 'setback', params: { code: 'timeout' } } } },
      initial: 'saving',
      states: {
        saving: {
          description: 'Freeze, save, a new layer for the disk, continue.',
          tags: ['work'],
          entry: { type: 'effect', params: { name: 'vm.branch' } },
          on: { BRANCHED: { target: '#vm.publishing', actions: 'noteTimings' } },
        },
      },
    },

    quiescing: {
      description: 'Connections end, the guest writes its files and stops its processes.',
      tags: ['work'],
      entry: { type: 'effect', params: { name: 'vm.quiesce' } },
      after: {
        QUIESCE_DEADLINE: FREEZE_TIMED_OUT,
      },
      on: {
        QUIESCED: { target: 'saving', actions: 'noteTimings' },
        STEP_FAILED: FREEZE_FAILED,
        INTERRUPTED: FREEZE_INTERRUPTED,
        VMM_EXITED: { target: 'crashed', actions: 'noteExit' },
        CREATE: { actions: 'addCreator' },
        PAUSE: { actions: 'addPauser' },
        DESTROY: { target: 'releasing', actions: 'addDestroyer' },
      },
    },

    saving: {
      description: 'The VM is stopped; its devices and what changed of its memory go into files.',
      tags: ['work'],
      entry: { type: 'effect', params: { name: 'vm.save' } },
      after: {
        SAVE_DEADLINE: FREEZE_TIMED_OUT,
      },
      on: {
        SAVED: { target: 'publishing', actions: 'noteTimings' },
        STEP_FAILED: FREEZE_FAILED,
        INTERRUPTED: FREEZE_INTERRUPTED,
        VMM_EXITED: { target: 'crashed', actions: 'noteExit' },
        CREATE: { actions: 'addCreator' },
        PAUSE: { actions: 'addPauser' },
        DESTROY: { target: 'releasing', actions: 'addDestroyer' },
      },
    },

    publishing: {
      description: 'What was saved is made durable and gets its name. It does not need the VMM any more.',
      tags: ['work'],
      entry: { type: 'effect', params: { name: 'vm.publish' } },
      after: {
        SAVE_DEADLINE: PUBLISH_TIMED_OUT,
      },
      on: {
        PUBLISHED: [
          { guard: 'isBoot', target: 'releasing', actions: ['noteMade', 'noteTimings'] },
          { guard: 'isBranch', target: 'ready', actions: ['noteMade', 'noteTimings'] },
          { target: 'releasing', actions: ['noteSnapshot', 'noteTimings'] },
        ],
        STEP_FAILED: FREEZE_FAILED,
        VMM_EXITED: [{ guard: 'isBranch', target: 'crashed', actions: 'noteExit' }, { actions: [] }],
        ADOPTED: { actions: 'noteAdopted' },
        CREATE: { actions: 'addCreator' },
        PAUSE: { guard: 'isPause', actions: 'addPauser' },
        DESTROY: { target: 'releasing', actions: 'addDestroyer' },
      },
    },

    continuing: {
      description: 'A pause or branch has failed: what is stopped runs on, unless it is found to be published.',
      tags: ['work'],
      entry: { type: 'effect', params: { name: 'vm.continue' } },
      after: { CONTINUE_DEADLINE: { target: 'crashed', actions: { type: 'blame', params: { code: 'guest_lost' } } } },
      on: {
        CONTINUED: 'ready',
        PUBLISHED: { target: 'releasing', actions: ['noteSnapshot', 'noteTimings'] },
        STEP_FAILED: { target: 'crashed', actions: 'noteStepFailed' },
        VMM_EXITED: [
          { guard: 'isSaved', target: 'publishing' },
          { target: 'crashed', actions: 'noteExit' },
        ],
        ADOPTED: { actions: 'noteAdopted' },
        CREATE: { actions: 'addCreator' },
        DESTROY: { target: 'releasing', actions: 'addDestroyer' },
      },
    },

    crashed: {
      description: 'The VMM ended by itself. Committed, so that it is reported; then everything is released.',
      tags: ['work'],
      after: { AT_ONCE: 'releasing' },
      on: {
        CREATE: { actions: 'addCreator' },
        DESTROY: { actions: 'addDestroyer' },
      },
    },

    releasing: {
      description: 'Undoes what was begun, in reverse. Each undo is repeated until it is done.',
      tags: ['work'],
      on: {
        CREATE: { actions: 'addCreator' },
        PAUSE: { actions: 'addPauser' },
        SUPERSEDED: { actions: 'dropSnapshot' },
        DESTROY: { actions: ['addDestroyer', 'dropSnapshot'] },
      },
      initial: 'next',
      states: {
        next: {
          always: [
            { guard: 'onlyFilesAreLeft', target: '#vm.paused' },
            { guard: 'nothingToUndo', target: '#vm.gone' },
            { guard: 'killIsNext', target: 'kill' },
            { guard: 'unrootIsNext', target: 'unroot' },
            { guard: 'unslotIsNext', target: 'unslot' },
          ],
        },
        kill: {
          description: 'Ends the VMM and its control group.',
          tags: ['work'],
          entry: { type: 'effect', params: { name: 'vm.kill' } },
          after: { UNDO_REVIEW: { target: 'kill', reenter: true } },
          on: { UNDONE: { target: 'next', actions: { type: 'noteUndone', params: { step: 'kill' } } } },
        },
        unroot: {
          description: 'Removes its files.',
          tags: ['work'],
          entry: { type: 'effect', params: { name: 'vm.unroot' } },
          after: { UNDO_REVIEW: { target: 'unroot', reenter: true } },
          on: { UNDONE: { target: 'next', actions: { type: 'noteUndone', params: { step: 'unroot' } } } },
        },
        unslot: {
          description: 'Gives the network slot back.',
          tags: ['work'],
          entry: { type: 'effect', params: { name: 'vm.unslot' } },
          after: { UNDO_REVIEW: { target: 'unslot', reenter: true } },
          on: { UNDONE: { target: 'next', actions: { type: 'noteUndone', params: { step: 'unslot' } } } },
        },
      },
    },

    paused: {
      description: 'Files and nothing else: whole and durable (I2), whatever becomes of what they were made from.',
      tags: ['rest'],
      entry: ['forgetRuntime', 'answerPaused', 'supersede'],
      on: {
        PAUSE: { actions: 'answerPausedNow' },
        SUPERSEDED: { target: 'releasing', actions: 'dropSnapshot' },
        DESTROY: { target: 'releasing', actions: ['addDestroyer', 'dropSnapshot'] },
      },
    },

    claimed: {
      description: 'A sandbox has taken this warm VM over, with everything that it held.',
      type: 'final',
      entry: 'forgetSpec',
    },

    gone: {
      description: 'The grave of the incarnation: nothing is left on the host, and it is never started again.',
      type: 'final',
      entry: ['answerGone', 'forgetSpec'],
    },
  },
});

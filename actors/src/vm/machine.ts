import { vmSetup } from './setup.ts';

/**
 * One incarnation of a sandbox on its host: what the agent does for it, and what must be undone.
 *
 * `queued` waits for admission (as many cold boots at a time as the machine has cores); `preparing` makes the network
 * slot, the root file system and the VMM process, one after the other; `booting` waits for the guest; `ready` is the rest
 * in which bytes flow past this actor. Whatever ends it leads through `releasing`, which undoes what was begun, in
 * reverse, and ends in `gone`. `gone` is the grave: it stays, so that a create that arrives late is refused (I1; over all
 * incarnations of a sandbox see admission.ts).
 *
 * Rules that the states keep:
 * - `undo` names a step before the step is begun, in the commit that opens its effect. A crash of the agent at any point
 *   therefore finds everything that may exist in the list, and undoing what is not there is no error (I5).
 * - An undo is repeated until it is done: nothing is forgotten because the kernel was busy.
 * - The time of a start counts from the admission; the queue has a deadline of its own.
 * - CREATE is answered at `ready`, or with the failure at `gone`: who hears of a failure knows that nothing is left, and
 *   may start the next incarnation elsewhere. DESTROY is answered at `gone`.
 * - DESTROY of an incarnation that was never seen makes its grave at once (`creates`).
 *
 * Who sends what: CREATE and DESTROY come from the control plane; SLOT_READY … GUEST_READY, STEP_FAILED and UNDONE are
 * results of effects; VMM_EXITED comes from the pidfd of the process; a restarted agent compares each actor with the
 * kernel and sends ADOPTED or VMM_EXITED. A step that was in flight then is simply done again.
 */
export const vmMachine = vmSetup.createMachine({
  id: 'vm',
  context: ({ input }) => {
    const event = input?.event;
    return {
      sandbox_id: event?.sandbox_id ?? '',
      incarnation: event?.incarnation ?? 0,
      epoch: event?.epoch ?? 0,
      team_id: event?.type === 'CREATE' ? event.spec.team_id : null,
      spec: event?.type === 'CREATE' ? event.spec : null,
      budget_ms: event?.type === 'CREATE' ? event.budget_ms : 0,
      created_at: input?.meta.at ?? 0,
      admitted_at: null,
      slot: null,
      disk: null,
      vmm: null,
      timings_ms: {},
      undo: [],
      failure: null,
      console_tail: null,
      create_waiters: event?.type === 'CREATE' ? [input.meta.id] : [],
      destroy_waiters: event?.type === 'DESTROY' ? [input.meta.id] : [],
      adoptions: 0,
    };
  },
  initial: 'deciding',
  states: {
    deciding: { always: [{ guard: 'isTombstone', target: 'gone' }, { target: 'queued' }] },

    queued: {
      description: 'Waits for a place among the cold boots.',
      tags: ['work'],
      entry: { type: 'effect', params: { name: 'vm.admit' } },
      after: { QUEUE_DEADLINE: { target: 'gone', actions: { type: 'blame', params: { code: 'admission_timeout' } } } },
      on: {
        ADMITTED: { target: 'preparing', actions: 'noteAdmitted' },
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
        slot: {
          description: 'Network slot: namespace, veth, tap, addresses, rules.',
          tags: ['work'],
          entry: [
            { type: 'willUndo', params: { undo: 'unslot' } },
            { type: 'effect', params: { name: 'vm.slot' } },
          ],
          on: { SLOT_READY: { target: 'rootfs', actions: 'noteSlot' } },
        },
        rootfs: {
          description: 'Root file system over the image of the template.',
          tags: ['work'],
          entry: [
            { type: 'willUndo', params: { undo: 'unroot' } },
            { type: 'effect', params: { name: 'vm.rootfs' } },
          ],
          on: { ROOTFS_READY: { target: 'launch', actions: 'noteDisk' } },
        },
        launch: {
          description: 'Control group and VMM process, watched by its pidfd.',
          tags: ['work'],
          entry: [
            { type: 'willUndo', params: { undo: 'kill' } },
            { type: 'effect', params: { name: 'vm.launch' } },
          ],
          on: { VMM_STARTED: { target: '#vm.booting', actions: 'noteVmm' } },
        },
      },
    },

    booting: {
      description: 'The guest starts its kernel and envd, which answers its first health check.',
      tags: ['work', 'admitted'],
      entry: { type: 'effect', params: { name: 'vm.await_guest' } },
      after: { START_DEADLINE: { target: 'releasing', actions: { type: 'blame', params: { code: 'start_timeout' } } } },
      on: {
        GUEST_READY: { target: 'ready', actions: 'noteReady' },
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
      entry: 'answerCreators',
      on: {
        VMM_EXITED: { target: 'crashed', actions: 'noteExit' },
        ADOPTED: { actions: 'noteAdopted' },
        CREATE: { actions: 'answerReady' },
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
        DESTROY: { actions: 'addDestroyer' },
      },
      initial: 'next',
      states: {
        next: {
          always: [
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
          on: { UNDONE: { guard: 'isNextUndo', target: 'next', actions: 'noteUndone' } },
        },
        unroot: {
          description: 'Removes the root file system.',
          tags: ['work'],
          entry: { type: 'effect', params: { name: 'vm.unroot' } },
          after: { UNDO_REVIEW: { target: 'unroot', reenter: true } },
          on: { UNDONE: { guard: 'isNextUndo', target: 'next', actions: 'noteUndone' } },
        },
        unslot: {
          description: 'Gives the network slot back.',
          tags: ['work'],
          entry: { type: 'effect', params: { name: 'vm.unslot' } },
          after: { UNDO_REVIEW: { target: 'unslot', reenter: true } },
          on: { UNDONE: { guard: 'isNextUndo', target: 'next', actions: 'noteUndone' } },
        },
      },
    },

    gone: {
      description: 'The grave of the incarnation: nothing is left on the host, and it is never started again.',
      type: 'final',
      entry: ['answerGone', 'forgetSpec'],
    },
  },
});

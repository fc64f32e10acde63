import type { SnapshotContext } from './events.ts';
import { created, snapshotSetup } from './setup.ts';

/** Of a snapshot that is awaited before the sandbox has told of it. */
const unknown: SnapshotContext = {
  snapshot_id: '',
  team_id: '',
  purpose: 'template',
  name: '',
  sandbox_id: '',
  host_id: '',
  created_by: '',
  created_at: 0,
  vcpus: 0,
  memory_mb: 0,
  disk_size_mb: 0,
  info: null,
  children: [],
  lingered: false,
  waiters: [],
};

/**
 * A frozen VM as files of one host, from which sandboxes are started: a template that people have named (`ready` until it
 * is deleted), or what the children of a fork start from (`starting`, gone with the last of them).
 *
 * It comes into being when the sandbox it was made of has done with it, by that sandbox's message; also when the making
 * failed, since the host may have something all the same. Nothing of a sandbox depends on it afterwards: what was started
 * from it has its own links to the files on the host (SN9), and what it was made of may be destroyed at any time.
 *
 * Rules that the states keep:
 * - What is deleted is deleted: `deleting` ends only when the host says that it has nothing of it, or is deleted itself. It
 *   is repeated for ever, and seen; for people the template is gone from the first commit of it.
 * - The children of a fork are created by this actor, not by their parent, so that it is there before one of them can tell
 *   how its start came out. AWAIT is answered when all have told (for a template: when it can be used). It may come before
 *   CREATE, since the one who asks hears from the sandbox by another way: then it is `expected`.
 *
 * Who sends what: CREATE comes from the sandbox; DELETE and AWAIT are commands; CHILD_SETTLED comes from the children,
 * SNAPSHOT_GONE is the result of the deletion, HOST_DELETED comes with the end of a host.
 */
export const snapshotMachine = snapshotSetup.createMachine({
  id: 'snapshot',
  context: ({ input }) => ({
    ...unknown,
    snapshot_id: input?.snapshot_id ?? '',
    ...(input?.event.type === 'CREATE' && created(input.event, input.meta.at)),
    ...(input?.event.type === 'AWAIT' && { team_id: input.event.team_id, waiters: [input.meta.id] }),
  }),
  initial: 'deciding',
  states: {
    deciding: {
      always: [
        { guard: 'isExpected', target: 'expected' },
        { guard: 'isFork', target: 'starting' },
        { guard: 'wasMade', target: 'ready' },
        { target: 'deleting' },
      ],
    },

    expected: {
      description: 'Somebody waits for it already; the sandbox that it is made of has yet to tell of it.',
      tags: ['work'],
      after: { EXPECTED_DEADLINE: { target: 'expected', reenter: true, actions: 'answerLate' } },
      on: {
        CREATE: { target: 'deciding', actions: 'noteCreated' },
        AWAIT: { actions: 'addWaiter' },
      },
    },

    starting: {
      description: 'The children of the fork are being started.',
      tags: ['work'],
      entry: 'createChildren',
      after: { CHILDREN_DEADLINE: { target: 'deleting', actions: 'giveUpChildren' } },
      on: {
        CHILD_SETTLED: [{ guard: 'isLast', target: 'deleting', actions: 'noteChild' }, { actions: 'noteChild' }],
        AWAIT: { actions: 'addWaiter' },
        HOST_DELETED: { guard: 'sameHost', target: 'deleted', actions: ['giveUpChildren', 'answerWaiters'] },
      },
    },

    ready: {
      description: 'A template: sandboxes can be created from it.',
      tags: ['rest'],
      entry: 'answerWaiters',
      on: {
        AWAIT: { actions: 'answerAtOnce' },
        DELETE: { target: 'deleting', actions: 'auditDelete' },
        HOST_DELETED: { guard: 'sameHost', target: 'deleted' },
      },
    },

    deleting: {
      description: 'The host unlinks its files. Repeated until it has.',
      tags: ['work'],
      entry: ['answerWaiters', { type: 'effect', params: { name: 'snapshot.delete' } }],
      after: { DELETE_REVIEW: { target: 'deleting', reenter: true } },
      on: {
        SNAPSHOT_GONE: [{ guard: 'mayStillCome', target: 'lingering' }, { target: 'deleted' }],
        HOST_DELETED: { guard: 'sameHost', target: 'deleted' },
        AWAIT: { actions: 'answerAtOnce' },
      },
    },

    lingering: {
      description:
        'It was not made in time, or nobody knows: what the host has made of it after all is deleted as well.',
      tags: ['rest'],
      after: { LINGER: { target: 'deleting', actions: 'noteLingered' } },
      on: {
        HOST_DELETED: { guard: 'sameHost', target: 'deleted' },
        AWAIT: { actions: 'answerAtOnce' },
      },
    },

    deleted: {
      description: 'Nothing is left of it but its journal.',
      type: 'final',
    },
  },
});

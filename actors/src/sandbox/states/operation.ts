import { sandboxSetup } from '../answers.ts';

/**
 * The region `operation` of `running` and of `paused`: a snapshot or a fork is made of it, one at a time, and nothing
 * else of the sandbox changes by it. However such work is left (also with the whole state: destroyed, lost), its exit
 * action answers who asked and lets the snapshot's actor keep or delete what the host has. Its deadline does not ask the
 * host: a snapshot that comes too late is deleted there like one that failed.
 */
const none = sandboxSetup.createStateConfig({
  description: 'Nothing is being made of it.',
  on: {
    SNAPSHOT: { target: 'snapshotting', actions: ['beginSnapshot', 'auditBranch'] },
    FORK: { target: 'forking', actions: ['beginFork', 'auditBranch'] },
  },
});

const ends = {
  after: { BRANCH_DEADLINE: 'none' },
  on: { BRANCHED: 'none', BRANCH_FAILED: 'none' },
  exit: 'endOperation',
} as const;

const branching = (what: string, effect: string) =>
  sandboxSetup.createStateConfig({
    description: what,
    tags: ['work'],
    entry: { type: 'effect', params: { name: effect } },
    ...ends,
  });

const SNAPSHOTTING = 'The host saves it under a name of its own. Nothing else changes.';
const FORKING = 'The host saves it for the children that are started from it at once.';

export const runningOperation = sandboxSetup.createStateConfig({
  initial: 'none',
  states: {
    none,
    snapshotting: branching(SNAPSHOTTING, 'vm.snapshot'),
    forking: branching(FORKING, 'vm.fork'),
  },
});

export const pausedOperation = sandboxSetup.createStateConfig({
  initial: 'none',
  states: {
    none,
    snapshotting: branching(SNAPSHOTTING, 'vm.snapshot_paused'),
    forking: branching(FORKING, 'vm.fork_paused'),
  },
});

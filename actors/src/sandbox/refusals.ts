import type { Refusals } from '../refusals.ts';

const RUNS = 'It is running already. There is nothing to resume.';
const SNAPSHOT = 'A snapshot of it is being made. Try again when that is done.';
const FORK = 'It is being forked. Try again when that is done.';

/** Why a sandbox does not take a command now, as people read it. */
export const refusals: Refusals = {
  placing: {
    RESUME: 'It has not been started yet. It will run by itself as soon as a host has room.',
    any: 'It waits for a host with room. Try again when it is running.',
  },
  starting: {
    RESUME: 'It is being started. It will run by itself in a moment.',
    any: 'It is being started. Try again when it is running.',
  },
  'running.operation.snapshotting': { RESUME: RUNS, any: SNAPSHOT },
  'running.operation.forking': { RESUME: RUNS, any: FORK },
  running: { RESUME: RUNS },
  pausing: {
    PAUSE: 'It is being paused already. Wait until it is paused.',
    RESUME: 'It is being paused. Resume it when it is paused.',
    PING: 'It is being paused on request, which a ping does not stop. Resume it when it is paused.',
    any: 'It is being paused. Try again when it is paused.',
  },
  'paused.operation.snapshotting': { PAUSE: 'It is paused already. There is nothing to pause.', any: SNAPSHOT },
  'paused.operation.forking': { PAUSE: 'It is paused already. There is nothing to pause.', any: FORK },
  paused: {
    PAUSE: 'It is paused already. There is nothing to pause.',
    any: 'It is paused. Resume it first.',
  },
  resuming: {
    RESUME: 'It is being resumed already. Wait until it is running.',
    any: 'It is being resumed. Try again when it is running.',
  },
  missing: {
    any: 'Its host is away or has lost its data, so that nobody knows how it is. Wait for its host, or destroy it.',
  },
  stopping: { any: 'It is coming to its end. Create another one instead.' },
  error: { any: 'It has failed. Destroy it, and create another one instead.' },
  stopped: {
    DESTROY: 'It has ended already. There is nothing left to destroy.',
    any: 'It has ended. Create another one instead.',
  },
};

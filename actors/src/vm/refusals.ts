import type { Refusals } from '../refusals.ts';

const STARTS = 'It is being started. Try again when it is ready.';
const GONE = 'It has ended and is never started again. Start its next incarnation.';
const FREEZES = 'It is being paused. Try again when it is paused.';
/** Also of one that is being made ahead, until it is parked. */
const CLAIM = 'Only a VM that was made ahead and waits can be taken over. Start another one instead.';

/** Why a VM does not take a command now, as people read it. */
export const refusals: Refusals = {
  queued: { CLAIM, any: STARTS },
  preparing: { CLAIM, any: STARTS },
  booting: { CLAIM, any: STARTS },
  restoring: { CLAIM, any: STARTS },
  ready: { CLAIM },
  parked: { any: 'It was made ahead and belongs to no sandbox yet. Let a sandbox take it over first.' },
  branching: { CLAIM, any: 'A snapshot of it is being made. Try again when that is done.' },
  quiescing: { CLAIM, any: FREEZES },
  saving: { CLAIM, any: FREEZES },
  publishing: { CLAIM, any: 'What was saved of it is being put on disk. Try again when that is done.' },
  continuing: { CLAIM, any: 'A pause or a snapshot of it has failed. Try again when it is ready.' },
  crashed: { CLAIM, any: 'Its process has ended by itself. Start it anew.' },
  releasing: { CLAIM, any: 'It is giving back what it holds of the host. Wait until it is paused or gone.' },
  paused: {
    CLAIM,
    CREATE: 'It is paused. Resume it by its next incarnation.',
    any: 'It is paused, so that nothing of it runs. Resume it by its next incarnation.',
  },
  claimed: { any: 'A sandbox has taken it over. Turn to that sandbox instead.' },
  gone: {
    DESTROY: 'It has ended already. There is nothing left to destroy.',
    CREATE: GONE,
    any: GONE,
  },
};

import type { Refusals } from '../refusals.ts';

/** Why a snapshot does not take a command now, as people read it. */
export const refusals: Refusals = {
  expected: { any: 'It is still being made. Delete it when it is ready.' },
  starting: { any: 'The copies of a fork are being started from it. It will be deleted by itself after the last one.' },
  deleting: { any: 'It is being deleted already. There is nothing more to do.' },
  lingering: { any: 'It is deleted already. There is nothing more to do.' },
  deleted: {
    AWAIT: 'It was deleted. Make another one instead.',
    any: 'It was deleted already. There is nothing left to delete.',
  },
};

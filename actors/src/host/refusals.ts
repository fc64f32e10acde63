import type { Refusals } from '../refusals.ts';

/** Why a host does not take a command now, as people read it. */
export const refusals: Refusals = {
  pending: { any: 'It has not registered yet, so that it holds nothing. Start its agent with the registration token.' },
  'active.duty.open': { any: 'It takes new work already. Drain it to keep new work away.' },
  'active.duty.draining': { any: 'It is being drained already. Undrain it to let it take new work again.' },
  'active.duty.evicting': {
    any: 'It is being removed from the fleet. Try again if it is still there in a moment.',
  },
  deleted: {
    DELETE: 'It was removed from the fleet already. There is nothing left to delete.',
    any: 'It was removed from the fleet. Add it as a new host.',
  },
};

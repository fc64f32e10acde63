import type { EventMeta } from '@wrenn/core';

/**
 * The stamp of whatever made the machine move. The first transition has no event of its own (XState calls it
 * `xstate.init`), so there the stamp travels in the machine's input.
 */
export function stampOf(event: unknown): EventMeta {
  const { meta, input } = event as { meta?: EventMeta; input?: { meta: EventMeta } };
  const stamp = meta ?? input?.meta;
  if (!stamp) throw new Error('event without a stamp');
  return stamp;
}

/** When it happened, milliseconds since 1970 by the store's clock: machines have no clock of their own. */
export const timeOf = (event: unknown): number => stampOf(event).at;

import type { EffectDefinition, RetryPolicy } from '@wrenn/core';
import type { SnapshotContext, SnapshotGone } from './events.ts';

export type SnapshotDeleteInput = { snapshot_id: string; host_id: string };

/** What the handlers of the control plane are given and return. */
export type SnapshotEffects = {
  /** One that the host does not have counts as deleted. Throws where the host did not answer: the policy retries. */
  'snapshot.delete': { input: SnapshotDeleteInput; result: SnapshotGone };
};

/** For ever, visible, and gentle with a host that is away for days. */
const FOR_EVER: RetryPolicy = { attempts: null, firstDelayMs: 500, factor: 2, maxDelayMs: 60_000 };

export const snapshotEffects: { [Name in keyof SnapshotEffects]: EffectDefinition<SnapshotContext> } = {
  'snapshot.delete': {
    while: 'deleting',
    input: ({ snapshot_id, host_id }): SnapshotDeleteInput => ({ snapshot_id, host_id }),
    results: ['SNAPSHOT_GONE'],
    retry: FOR_EVER,
    // Only a person gives this up: he says that the host holds nothing.
    gaveUp: (): SnapshotGone => ({ type: 'SNAPSHOT_GONE' }),
  },
};

import type { ActorDefinition, DomainEvent, Stamped } from '@wrenn/core';
import { explainedBy } from '../refusals.ts';
import { snapshotEffects } from './effects.ts';
import type { SnapshotContext, SnapshotInput } from './events.ts';
import { snapshotMachine } from './machine.ts';
import { projections } from './project.ts';
import { refusals } from './refusals.ts';

/** Everything the runtime knows about snapshots. */
export const snapshotDefinition: ActorDefinition<SnapshotContext> = {
  kind: 'snapshot',
  version: 1,
  machine: snapshotMachine,
  input: (event: Stamped<DomainEvent>, ref): SnapshotInput => {
    const { meta, ...create } = event;
    return { snapshot_id: ref.id, event: create as unknown as SnapshotInput['event'], meta };
  },
  commands: {
    CREATE: { title: 'Create', answer: 'now', creates: true },
    DELETE: { title: 'Delete', answer: 'now', destructive: true },
    AWAIT: { title: 'Wait for it', answer: 'later', creates: true },
  },
  effects: snapshotEffects,
  projections,
  publicContext: ({ waiters: _waiters, ...context }) => context,
  explain: explainedBy(refusals),
  teamOf: ({ team_id }) => team_id,
};

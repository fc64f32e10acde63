import type { ActorDefinition, DomainEvent, Stamped } from '@wrenn/core';
import { explainedBy } from '../refusals.ts';
import { hostEffects } from './effects.ts';
import type { HostContext, HostCreate, HostInput } from './events.ts';
import { hostMachine } from './machine.ts';
import { projections } from './project.ts';
import { refusals } from './refusals.ts';
import { withOrphansSince } from './upcast.ts';

/** Everything the runtime knows about hosts. */
export const hostDefinition: ActorDefinition<HostContext> = {
  kind: 'host',
  version: 2,
  machine: hostMachine,
  input: (event: Stamped<DomainEvent>, ref): HostInput => {
    const { meta, ...create } = event;
    return { host_id: ref.id, event: create as unknown as HostCreate, meta };
  },
  commands: {
    CREATE: { title: 'Add', answer: 'now', creates: true },
    NEW_TOKEN: { title: 'New token', answer: 'now' },
    DRAIN: { title: 'Drain', answer: 'now' },
    UNDRAIN: { title: 'Undrain', answer: 'now' },
    SET_TAGS: { title: 'Set tags', answer: 'now' },
    DELETE: { title: 'Delete', answer: 'later', destructive: true },
  },
  upcasters: { 1: withOrphansSince },
  effects: hostEffects,
  projections,
  publicContext: ({ delete_waiters: _waiters, ...context }) => context,
  explain: explainedBy(refusals),
  teamOf: ({ team_id }) => team_id,
};

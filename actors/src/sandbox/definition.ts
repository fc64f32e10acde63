import type { ActorDefinition, DomainEvent, Json, Stamped } from '@wrenn/core';
import { explainedBy } from '../refusals.ts';
import { sandboxEffects } from './effects.ts';
import type { Operation, SandboxContext, SandboxCreate, SandboxInput } from './events.ts';
import { sandboxMachine } from './machine.ts';
import { projections } from './project.ts';
import { refusals } from './refusals.ts';
import { withPauses } from './upcast.ts';

/** Children of a fork carry their tokens. */
function publicOperation({ type, snapshot_id, name, children }: Operation): Json {
  return { type, snapshot_id, name, children: children.map(({ sandbox_id }) => sandbox_id) };
}

/** Everything the runtime knows about sandboxes. */
export const sandboxDefinition: ActorDefinition<SandboxContext> = {
  kind: 'sandbox',
  version: 2,
  machine: sandboxMachine,
  input: (event: Stamped<DomainEvent>, ref): SandboxInput => {
    const { meta, ...create } = event;
    return { sandbox_id: ref.id, event: create as unknown as SandboxCreate, meta };
  },
  commands: {
    CREATE: { title: 'Create', answer: 'later', creates: true },
    DESTROY: { title: 'Destroy', answer: 'later', destructive: true },
    PATCH: { title: 'Change', answer: 'now' },
    PING: { title: 'Ping', answer: 'now' },
    PAUSE: { title: 'Pause', answer: 'later' },
    RESUME: { title: 'Resume', answer: 'later' },
    SNAPSHOT: { title: 'Snapshot', answer: 'later' },
    FORK: { title: 'Fork', answer: 'later' },
  },
  effects: sandboxEffects,
  projections,
  upcasters: { 1: withPauses },
  publicContext: ({
    create_waiter: _create,
    destroy_waiters: _destroy,
    pause_waiters: _pause,
    resume_waiters: _resume,
    operation,
    spec,
    ...context
  }) => {
    const { access_token: _access, traffic_token: _traffic, envs: _envs, ...shown } = spec;
    return { ...context, spec: shown, operation: operation && publicOperation(operation) };
  },
  explain: explainedBy(refusals),
  teamOf: ({ spec }) => spec.team_id,
};

import type { ActorDefinition, DomainEvent, Stamped } from '@wrenn/core';
import { sandboxEffects } from './effects.ts';
import type { SandboxContext, SandboxCreate, SandboxInput } from './events.ts';
import { sandboxMachine } from './machine.ts';
import { projections } from './project.ts';

/** Everything the runtime knows about sandboxes. */
export const sandboxDefinition: ActorDefinition<SandboxContext> = {
  kind: 'sandbox',
  version: 1,
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
  },
  effects: sandboxEffects,
  projections,
  publicContext: ({ create_waiter: _create, destroy_waiters: _destroy, spec, ...context }) => {
    const { access_token: _access, traffic_token: _traffic, envs: _envs, ...shown } = spec;
    return { ...context, spec: shown };
  },
  teamOf: ({ spec }) => spec.team_id,
};

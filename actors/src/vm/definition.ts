import type { ActorDefinition, DomainEvent, Stamped } from '@wrenn/core';
import { vmEffects } from './effects.ts';
import type { VmContext, VmCreate, VmDestroy, VmInput } from './events.ts';
import { vmMachine } from './machine.ts';

/** Everything the agent's runtime knows about VMs. */
export const vmDefinition: ActorDefinition<VmContext> = {
  kind: 'vm',
  version: 1,
  machine: vmMachine,
  input: (event: Stamped<DomainEvent>): VmInput => {
    const { meta, ...command } = event;
    return { event: command as unknown as VmCreate | VmDestroy, meta };
  },
  commands: {
    CREATE: { title: 'Start', answer: 'later', creates: true },
    DESTROY: { title: 'Destroy', answer: 'later', creates: true, destructive: true },
  },
  effects: vmEffects,
  publicContext: ({ create_waiters: _create, destroy_waiters: _destroy, spec, ...context }) => {
    if (spec === null) return { ...context, spec };
    const { access_token: _access, envs: _envs, ...shown } = spec;
    return { ...context, spec: shown };
  },
  teamOf: ({ team_id }) => team_id,
};

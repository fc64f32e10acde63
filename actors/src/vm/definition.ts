import type { ActorDefinition, DomainEvent, Json, Stamped } from '@wrenn/core';
import { explainedBy } from '../refusals.ts';
import { vmEffects } from './effects.ts';
import type { VmContext, VmCreate, VmDestroy, VmInput } from './events.ts';
import { vmMachine } from './machine.ts';
import { refusals } from './refusals.ts';

/** Version 2 came with pause, branch and restore: until then every VM was a sandbox and had booted. */
function withSnapshots(snapshot: Json): Json {
  const { context, ...rest } = snapshot as { context: Record<string, Json> };
  const added = {
    ...{ purpose: 'sandbox', source: { kind: 'kernel' }, claim: null, origin: null },
    ...{ branch: null, setback: null, made: null, snapshot: null, pause_waiters: [], branch_waiters: [] },
  };
  return { ...rest, context: { ...added, ...context } };
}

/** Everything the agent's runtime knows about VMs. */
export const vmDefinition: ActorDefinition<VmContext> = {
  kind: 'vm',
  version: 2,
  machine: vmMachine,
  input: (event: Stamped<DomainEvent>): VmInput => {
    const { meta, ...command } = event;
    return { event: command as unknown as VmCreate | VmDestroy, meta };
  },
  commands: {
    CREATE: { title: 'Start', answer: 'later', creates: true },
    PAUSE: { title: 'Pause', answer: 'later' },
    BRANCH: { title: 'Snapshot', answer: 'later' },
    CLAIM: { title: 'Take over', answer: 'now' },
    DESTROY: { title: 'Destroy', answer: 'later', creates: true, destructive: true },
  },
  effects: vmEffects,
  upcasters: { 1: withSnapshots },
  publicContext: ({
    create_waiters: _create,
    destroy_waiters: _destroy,
    pause_waiters: _pause,
    branch_waiters: _branch,
    spec,
    ...context
  }) => {
    if (spec === null) return { ...context, spec };
    const { access_token: _access, envs: _envs, ...shown } = spec;
    return { ...context, spec: shown };
  },
  explain: explainedBy(refusals),
  teamOf: ({ team_id }) => team_id,
};

import type { AnyMachineSnapshot } from 'xstate';
import type { ActorDefinition, ActorView, Json } from '../definition.ts';
import type { ActorState } from './actor-state.ts';

/** The actor as projections and `read` see it. */
export function viewOf(state: ActorState): ActorView<never> {
  const { ref, snapshot } = state;
  return {
    kind: ref.kind,
    id: ref.id,
    state: snapshot.value as Json,
    path: state.path,
    tags: [...snapshot.tags] as string[],
    context: snapshot.context as never,
    seq: state.seq,
    machineVersion: state.machineVersion,
    createdAt: state.createdAt,
    since: state.since,
    updatedAt: state.updatedAt,
    done: snapshot.status === 'done',
  };
}

/** The view as a stored answer: without what outsiders may not see. */
export function publicView(state: ActorState): Json {
  return { ...viewOf(state), context: state.publicContext } as unknown as Json;
}

/** Names of the active leaf states, joined: `running.idle.armed+running.operation.none`. */
export function pathOf(snapshot: AnyMachineSnapshot): string {
  const leaves = snapshot._nodes.filter(({ type }) => type === 'atomic' || type === 'final');
  if (leaves.length === 1) return leaves[0]?.path.join('.') ?? '';
  return leaves
    .sort((a, b) => a.order - b.order)
    .map(({ path }) => path.join('.'))
    .join('+');
}

export function publicContextOf(definition: ActorDefinition, context: unknown): Json {
  return definition.publicContext ? definition.publicContext(context) : (context as Json);
}

import type { ActorDefinition, ActorView, DomainEvent, EventMeta } from '@wrenn/core';
import { describe, expect, test } from 'vitest';
import { PreparedMachine } from '../../core/src/step/prepared-machine.ts';
import { pathOf } from '../../core/src/step/view.ts';
import { hostDefinition } from './host/definition.ts';
import { refusals as hostRefusals } from './host/refusals.ts';
import { machineAsData, type StateData } from './machine-as-data.ts';
import type { Refusals } from './refusals.ts';
import { sandboxDefinition } from './sandbox/definition.ts';
import { refusals as sandboxRefusals } from './sandbox/refusals.ts';
import { snapshotDefinition } from './snapshot/definition.ts';
import { refusals as snapshotRefusals } from './snapshot/refusals.ts';
import { createSandbox, createVm } from './testing/samples.ts';
import { vmDefinition } from './vm/definition.ts';
import { refusals as vmRefusals } from './vm/refusals.ts';

const META: EventMeta = { id: 'why', at: 0, cause: { type: 'system' } };

interface Case {
  readonly definition: ActorDefinition;
  readonly refusals: Refusals;
  readonly create: DomainEvent;
  /** What guards of commands look at, in all its values that a state with this path can have. */
  readonly contexts: (path: string) => readonly object[];
}

const operation = (path: string) => {
  const [, type] = /operation\.(snapshotting|forking)/.exec(path) ?? [];
  return type === undefined ? null : { type };
};
const cases: readonly Case[] = [
  {
    definition: sandboxDefinition,
    refusals: sandboxRefusals,
    create: createSandbox(),
    contexts: (path) =>
      ['request', 'idle', 'lifetime'].map((cause) => ({ operation: operation(path), pause_cause: cause })),
  },
  {
    definition: snapshotDefinition,
    refusals: snapshotRefusals,
    create: { type: 'AWAIT', team_id: 'team-1' },
    contexts: () => [{}],
  },
  {
    definition: hostDefinition,
    refusals: hostRefusals,
    create: { type: 'CREATE', team_id: null, name: 'alpha', tags: [], created_by: 'usr-1' },
    contexts: () => [{}],
  },
  {
    definition: vmDefinition,
    refusals: vmRefusals,
    create: createVm(),
    contexts: () =>
      ['sandbox', 'boot', 'warm', 'waiting'].flatMap((purpose) => [
        { purpose, branch: null },
        { purpose, branch: { snapshot_id: 'sn1', children: 0 } },
      ]),
  },
];

describe.each(cases)('$definition.kind', ({ definition, refusals, create, contexts }) => {
  const data = machineAsData(definition);
  const refused = refusedOf(definition, create, valuesOf(data.root), contexts);

  test('CON2: whatever command is refused in whatever state, a sentence says why and another one what to do', () => {
    expect(refused.length).toBeGreaterThan(0);
    const silent = refused.filter(({ reason }) => !/^[A-Z][^.]+\. [A-Z][^.]+\.$/.test(reason ?? ''));
    expect(silent).toEqual([]);
  });

  test('CON2: no reason has a name that only the program knows: of a guard, an action, a state or an event', () => {
    const guards = new Set(
      all(data.root).flatMap(({ transitions }) => transitions.flatMap((transition) => transition.guards)),
    );
    expect(guards.size).toBeGreaterThan(0);
    const leaking = refused.filter(({ reason }) => {
      const words = (reason ?? '').split(/[^\w.]+/);
      return words.some((word) => guards.has(word) || /[a-z][A-Z]|_|\.\w|[A-Z]{3}/.test(word));
    });
    expect(leaking).toEqual([]);
  });

  test('every reason is met in some state', () => {
    const met = new Set(refused.map(({ reason }) => reason));
    const written = Object.values(refusals).flatMap((words) => Object.values(words));
    expect(written.filter((reason) => !met.has(reason))).toEqual([]);
  });
});

test('CON2: one that runs cannot be resumed because it runs', () => {
  const path = 'running.idle.off+running.lifetime.off+running.operation.none';
  const reason = sandboxDefinition.explain?.({ path } as ActorView<never>, 'RESUME');
  expect(reason).toBe('It is running already. There is nothing to resume.');
});

/** Every command that some state refuses. */
function refusedOf(definition: ActorDefinition, create: DomainEvent, values: unknown[], contexts: Case['contexts']) {
  const machine = new PreparedMachine(definition);
  const input = definition.input({ ...create, meta: META } as never, { kind: definition.kind, id: 'a1' });
  const { context } = machine.start(input, META).snapshot;
  return values.flatMap((value) => {
    const path = pathOf(machine.restore({ value, context }));
    return contexts(path).flatMap((fields) => {
      const snapshot = machine.restore({ value, context: { ...context, ...fields } });
      const commands = Object.keys(definition.commands).filter((type) => !machine.can(snapshot, { type }, META));
      const view = { path, context: snapshot.context } as ActorView<never>;
      return commands.map((command) => ({ path, command, reason: definition.explain?.(view, command) }));
    });
  });
}

/** All values that a state can have, as XState writes them; without states in which no actor ever rests. */
function valuesOf({ type, states }: StateData): unknown[] {
  const inner = states
    .filter(({ transitions }) => !transitions.some(({ event, delay }) => event === '' && delay === undefined))
    .map((state) => ({ key: state.key, values: state.states.length === 0 ? [null] : valuesOf(state) }));
  if (type !== 'parallel')
    return inner.flatMap(({ key, values }) => values.map((value) => (value === null ? key : { [key]: value })));
  return inner.reduce<object[]>(
    (whole, { key, values }) => whole.flatMap((one) => values.map((value) => ({ ...one, [key]: value }))),
    [{}],
  );
}

function all(state: StateData): StateData[] {
  return [state, ...state.states.flatMap(all)];
}

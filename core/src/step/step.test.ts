import fc from 'fast-check';
import { expect, test } from 'vitest';
import { type ActorDefinition, assign, durableActions, setup } from '../index.ts';
import { parcel } from '../testing/parcel.ts';
import type { ActorState, Envelope } from './actor-state.ts';
import { Changes } from './changes.ts';
import { jsonDiff } from './json-diff.ts';
import { PreparedMachine } from './prepared-machine.ts';
import { effectKey } from './refs.ts';
import { createActor, stepActor } from './step.ts';
import { storable, storableJson } from './storable.ts';
import { actorRow, restoreActor } from './stored-actor.ts';

const to = { kind: 'parcel', id: 'p' };
let count = 0;
function message(type: string, fields: object = {}, more: Partial<Envelope> = {}): Envelope {
  count += 1;
  return { id: `m${count}`, to, event: { type, ...fields }, cause: { type: 'system' }, asked: false, ...more };
}
const machine = new PreparedMachine(parcel);
function made(fields: object = {}): ActorState {
  return createActor(machine, message('CREATE', fields), 1_000, new Changes());
}
function step(state: ActorState, envelope: Envelope, at = 2_000): Changes {
  const changes = new Changes();
  stepActor(machine, state, envelope, at, changes);
  return changes;
}

test('entry actions and delays of the first state see the creating message', () => {
  const changes = new Changes();
  const state = createActor(machine, message('CREATE', { packMs: 500 }, { id: 'first' }), 1_000, changes);
  expect([...state.timers.values()]).toMatchObject([{ delay: 'packing', node: 'packing', dueAt: 1_500 }]);
  expect([...state.effects.values()]).toMatchObject([
    { name: 'pack', node: 'packing', input: { name: 'p', at: 1_000 } },
  ]);
  expect(state.snapshot.context.waiter).toBe('first');
  expect(state.ledger.owed).toEqual(['first']);
});

test('a state that is re-entered is a new visit: its earlier timer and effect are late (I4)', () => {
  const state = made();
  const [timer] = [...state.timers.values()];
  const [effect] = [...state.effects.values()];
  if (!timer || !effect) throw new Error('nothing set');
  step(state, message('REPACK'));
  const late = step(state, message(timer.name, {}, { timer: { name: timer.name, visit: timer.visit } }));
  expect(late.entries).toMatchObject([{ outcome: 'late', path: 'packing' }]);
  const result = step(state, message('PACKED', { weight: 1 }, { effectKey: effectKey(to, effect.number) }));
  expect(result.entries).toMatchObject([{ outcome: 'late' }]);
  expect(state.path).toBe('packing');
  expect(state.timers.size).toBe(1);
});

test('a delayed event from outside the timers is late, whoever sends it', () => {
  const state = made();
  const [timer] = [...state.timers.values()];
  const forged = step(state, message(timer?.name ?? '', {}, { timer: { name: timer?.name ?? '', visit: 0 } }));
  expect(forged.entries).toMatchObject([{ outcome: 'late' }]);
});

test('a step that throws moves nothing', () => {
  const state = made();
  const before = JSON.stringify(actorRow(machine, state));
  const changes = new Changes();
  expect(() => stepActor(machine, state, message('BOMB'), 2_000, changes)).toThrow('boom');
  expect(JSON.stringify(actorRow(machine, state))).toBe(before);
  expect(changes.entries).toEqual([]);
});

test('an actor restored from its row goes on as one that was never away', () => {
  fc.assert(
    fc.property(
      fc.array(fc.constantFrom('REPACK', 'PACKED', 'TOUCH', 'LABEL', 'NOTE', 'CANCEL', 'PACK_FAILED', 'late'), {
        maxLength: 12,
      }),
      (types) => {
        const [whole, broken] = [made({ idleMs: 50 }), made({ idleMs: 50 })];
        broken.ledger.owed = [...whole.ledger.owed];
        broken.snapshot.context.waiter = whole.snapshot.context.waiter;
        let state = broken;
        for (const type of types) {
          const envelope = message(type, { weight: 2, text: 'x' });
          step(whole, envelope);
          step(state, envelope);
          const row = JSON.parse(JSON.stringify(actorRow(machine, state)));
          state = restoreActor(machine, row, [...state.timers.values()], [...state.effects.values()]);
        }
        expect(JSON.parse(JSON.stringify(actorRow(machine, state)))).toEqual(
          JSON.parse(JSON.stringify(actorRow(machine, whole))),
        );
        expect([...state.timers.values()]).toEqual([...whole.timers.values()]);
      },
    ),
  );
});

test('an effect whose state is left within the same step is not opened; raised events carry meta', () => {
  const hop = setup({
    types: {} as { context: { at: number }; events: { type: string } },
    actions: {
      ...durableActions,
      stamp: assign({ at: ({ event }) => (event as unknown as { meta: { at: number } }).meta.at }),
    },
  }).createMachine({
    id: 'hop',
    context: { at: 0 },
    initial: 'a',
    states: {
      a: { on: { GO: 'b' } },
      b: { entry: { type: 'effect', params: { name: 'never' } }, always: 'c' },
      c: {
        initial: 'x',
        onDone: { target: 'd', actions: 'stamp' },
        states: { x: { always: 'y' }, y: { type: 'final' } },
      },
      d: {},
    },
  });
  const definition: ActorDefinition<{ at: number }> = {
    kind: 'parcel',
    version: 1,
    machine: hop,
    input: () => undefined,
    commands: {},
    effects: {
      never: {
        while: 'b',
        input: () => null,
        results: [],
        retry: { attempts: 1, firstDelayMs: 1, factor: 1, maxDelayMs: 1 },
        gaveUp: () => ({ type: 'X' }),
      },
    },
  };
  const prepared = new PreparedMachine(definition);
  const state = createActor(prepared, message('START'), 1, new Changes());
  stepActor(prepared, state, message('GO'), 77, new Changes());
  expect(state.path).toBe('d');
  expect(state.snapshot.context).toEqual({ at: 77 });
  expect(state.effects.size).toBe(0);
});

test('older snapshots pass through the upcasters, newer ones are refused', () => {
  const row = JSON.parse(JSON.stringify(actorRow(machine, made())));
  const newer = new PreparedMachine({
    ...parcel,
    version: 3,
    upcasters: {
      1: (snapshot) => ({
        ...(snapshot as object),
        context: { ...(snapshot as { context: object }).context, colour: 'red' },
      }),
      2: (snapshot) => snapshot,
    },
  });
  expect(restoreActor(newer, row, [], []).snapshot.context).toMatchObject({ colour: 'red', secret: 'hush' });
  expect(() => restoreActor(machine, { ...row, machineVersion: 2 }, [], [])).toThrow('newer version');
});

test('a result that the machine does not take parks its effect, visibly', () => {
  const deaf = new PreparedMachine({
    ...parcel,
    effects: { pack: { ...parcel.effects.pack, results: ['UNHEARD'] } },
  } as never);
  const state = createActor(deaf, message('CREATE'), 1, new Changes());
  const [effect] = [...state.effects.values()];
  const changes = new Changes();
  stepActor(deaf, state, message('UNHEARD', {}, { effectKey: effectKey(to, effect?.number ?? 0) }), 2, changes);
  expect(changes.entries).toMatchObject([{ outcome: 'late' }]);
  expect([...state.effects.values()]).toMatchObject([{ status: 'parked', lastError: { code: 'unexpected_result' } }]);
});

test('every accepted command has exactly one answer (I8), also at the end of its actor', () => {
  const state = made();
  const { answers } = step(state, message('CANCEL', {}, { id: 'cancel' }));
  expect(answers).toMatchObject([
    { messageId: 'cancel', answer: { ok: true } },
    { answer: { ok: false, error: { code: 'actor_done' } } },
  ]);
  expect(state.ledger.owed).toEqual([]);
  expect([state.timers.size, state.effects.size]).toEqual([0, 0]);
  expect(step(state, message('NOTE')).answers).toMatchObject([
    { answer: { ok: false, error: { code: 'illegal_command' } } },
  ]);
});

test('a diff leads from one value to the other (RFC 6902)', () => {
  fc.assert(
    fc.property(fc.jsonValue(), fc.jsonValue(), (from, to) => {
      const plain = (value: unknown) => JSON.parse(JSON.stringify(value));
      expect(patched(plain(from), jsonDiff(plain(from), plain(to)) as never)).toEqual(plain(to));
    }),
  );
});

test('whatever a guest sends can be stored as jsonb, and stays what it was where that is possible', () => {
  fc.assert(
    fc.property(fc.string({ unit: 'binary' }), (text) => {
      const { value } = JSON.parse(storableJson({ value: text }));
      expect(value).toBe(text.replaceAll('\0', '\u2400').toWellFormed());
      expect(storable({ [text]: [text] })).toEqual({ [value]: [value] });
    }),
  );
  expect(storable('\\u0000')).toBe('\\u0000');
});

/** A patch as a reader applies it. */
function patched(value: unknown, operations: { op: string; path: string; value?: unknown }[]): unknown {
  let root = { '': value } as Record<string, unknown>;
  for (const { op, path, value: to } of operations) {
    const keys =
      path === ''
        ? ['']
        : [
            '',
            ...path
              .slice(1)
              .split('/')
              .map((key) => key.replaceAll('~1', '/').replaceAll('~0', '~')),
          ];
    const last = keys.pop() as string;
    const parent = keys.reduce((at, key) => at[key] as never, root) as never as Record<string, unknown> & unknown[];
    if (op === 'remove') Array.isArray(parent) ? parent.splice(Number(last), 1) : delete parent[last];
    else if (op === 'add' && Array.isArray(parent)) parent.push(to);
    else Object.defineProperty(parent, last, { value: to, enumerable: true, writable: true, configurable: true });
    root = { ...root };
  }
  return root[''];
}

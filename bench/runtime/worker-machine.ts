import { type ActorDefinition, assign, durableActions, setup } from '@wrenn/core';

/**
 * What the runtime's benchmarks run: a round is two transitions, each with journal, a timer set and one cleared, a row of
 * the read model, and an effect that is opened by the first and closed by the second, which answers whoever asked.
 */
type Context = { rounds: number; asker: string | null };
type Event = { type: 'GO' | 'DONE' | 'CREATE'; meta: { id: string } };

const machine = setup({
  types: {} as { context: Context; events: Event },
  actions: {
    ...durableActions,
    asked: assign({ asker: ({ event }: { event: Event }) => event.meta.id }),
    counted: assign({ rounds: ({ context }: { context: Context }) => context.rounds + 1, asker: null }),
  },
  delays: { DEADLINE: 120_000, REST: 3_600_000 },
}).createMachine({
  id: 'worker',
  context: { rounds: 0, asker: null },
  initial: 'resting',
  states: {
    resting: { after: { REST: 'working' }, on: { GO: { target: 'working', actions: 'asked' } } },
    working: {
      entry: { type: 'effect', params: { name: 'work' } },
      after: { DEADLINE: 'resting' },
      on: {
        DONE: {
          target: 'resting',
          actions: [
            {
              type: 'answer',
              params: ({ context }) => ({ to: context.asker, answer: { ok: true, value: context.rounds } }),
            },
            'counted',
          ],
        },
      },
    },
  },
});

export const worker: ActorDefinition<Context> = {
  kind: 'worker',
  version: 1,
  machine,
  input: () => undefined,
  commands: {
    CREATE: { title: 'Create', answer: 'now', creates: true },
    GO: { title: 'Go', answer: 'later' },
  },
  effects: {
    work: {
      while: 'working',
      input: ({ rounds }) => ({ rounds }),
      results: ['DONE'],
      retry: { attempts: null, firstDelayMs: 100, factor: 2, maxDelayMs: 1_000 },
      gaveUp: () => ({ type: 'DONE' }),
    },
  },
  projections: [
    {
      table: 'workers',
      key: ['id'],
      columns: ['id', 'status', 'rounds'],
      upsert: ({ id, path, context }) => [{ id, status: path, rounds: context.rounds }],
    },
  ],
};

export const WORKERS_SQL =
  'create table workers (id text primary key, status text not null, rounds int not null) with (fillfactor = 70)';

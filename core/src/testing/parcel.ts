import {
  type ActorDefinition,
  assign,
  type DomainEvent,
  durableActions,
  type EventMeta,
  type RetryPolicy,
  type Stamped,
  setup,
} from '../index.ts';

/**
 * The machine of core's own tests: a parcel that is packed (an effect with a deadline), waits, is sent to another parcel's
 * address, and arrives. Small, but it has everything: parallel regions, re-entry, late answers, timers, sends, audit.
 */
export type ParcelContext = {
  name: string;
  secret: string;
  weight: number;
  notes: string[];
  waiter: string | null;
  packMs: number;
  idleMs: number;
  heard: number;
  reason: string | null;
};

type ParcelEvent = Stamped<DomainEvent>;
type Args = { context: ParcelContext; event: ParcelEvent };

const RETRY: RetryPolicy = { attempts: 3, firstDelayMs: 20, factor: 2, maxDelayMs: 100 };

export const parcelMachine = setup({
  types: {} as {
    context: ParcelContext;
    events: ParcelEvent;
    input: { event: ParcelEvent; id: string };
    tags: string;
  },
  actions: {
    ...durableActions,
    packed: assign(({ event }: Args) => ({ weight: event.weight as number })),
    failed: assign(({ event }: Args) => ({ reason: (event.code as string) ?? 'deadline' })),
    note: assign(({ context, event }: Args) => ({ notes: [...context.notes, event.text as string] })),
    heard: assign(({ context }: Args) => ({ heard: context.heard + 1 })),
  },
  guards: {
    notEmpty: ({ event }: Args) => event.text !== '',
    explodes: ({ event }: Args) => {
      if (event.type === 'BOMB') throw new Error('boom');
      return true;
    },
  },
  delays: {
    packing: ({ context }: { context: ParcelContext }) => context.packMs,
    idle: ({ context }: { context: ParcelContext }) => context.idleMs || Number.POSITIVE_INFINITY,
  },
}).createMachine({
  id: 'parcel',
  context: ({ input: { event, id } }) => ({
    name: id,
    secret: 'hush',
    weight: 0,
    notes: [],
    waiter: event.meta.id,
    packMs: (event.packMs as number | undefined) ?? 60_000,
    idleMs: (event.idleMs as number | undefined) ?? 0,
    heard: 0,
    reason: null,
  }),
  initial: 'packing',
  on: {
    NOTE: { guard: 'notEmpty', actions: 'note' },
    BOMB: { guard: 'explodes' },
    HEARD: { actions: 'heard' },
    TELL: {
      actions: {
        type: 'send',
        params: ({ event }) => ({
          to: { kind: 'parcel', id: event.to as string },
          event: { type: 'NOTE', text: event.text as string },
        }),
      },
    },
  },
  states: {
    packing: {
      tags: ['work'],
      entry: { type: 'effect', params: { name: 'pack' } },
      after: { packing: { target: 'failed', actions: 'failed' } },
      on: {
        PACKED: { target: 'waiting', actions: 'packed' },
        PACK_FAILED: { target: 'failed', actions: 'failed' },
        CANCEL: 'cancelled',
        REPACK: { target: 'packing', reenter: true },
      },
    },
    waiting: {
      type: 'parallel',
      tags: ['rest'],
      entry: [
        {
          type: 'answer',
          params: ({ context }) => ({
            to: context.waiter,
            answer: { ok: true, value: { name: context.name, weight: context.weight } },
          }),
        },
        { type: 'audit', params: { action: 'parcel.packed', status: 'success' } },
      ],
      on: { CANCEL: 'cancelled', REPACK: 'packing' },
      states: {
        idle: {
          initial: 'armed',
          states: { armed: { after: { idle: 'over' }, on: { TOUCH: { target: 'armed', reenter: true } } }, over: {} },
        },
        label: { initial: 'none', states: { none: { on: { LABEL: 'printed' } }, printed: {} } },
      },
    },
    failed: {
      entry: {
        type: 'answer',
        params: ({ context }) => ({
          to: context.waiter,
          answer: { ok: false, error: { code: 'conflict', message: context.reason ?? '' } },
        }),
      },
      on: { CANCEL: 'cancelled', REPACK: 'packing' },
    },
    cancelled: { type: 'final' },
  },
});

export const parcel: ActorDefinition<ParcelContext> = {
  kind: 'parcel',
  version: 1,
  machine: parcelMachine,
  input: (event, { id }) => ({ event, id }),
  commands: {
    CREATE: { title: 'Create', answer: 'later', creates: true },
    CREATE_NOW: { title: 'Create', answer: 'now', creates: true },
    NOTE: { title: 'Note', answer: 'now' },
    TOUCH: { title: 'Touch', answer: 'now' },
    LABEL: { title: 'Label', answer: 'now' },
    TELL: { title: 'Tell', answer: 'now' },
    BOMB: { title: 'Bomb', answer: 'now' },
    CANCEL: { title: 'Cancel', answer: 'now', destructive: true },
    REPACK: { title: 'Pack again', answer: 'now' },
  },
  effects: {
    pack: {
      while: 'packing',
      input: ({ name }: ParcelContext, { at }: EventMeta) => ({ name, at }),
      results: ['PACKED', 'PACK_FAILED'],
      retry: RETRY,
      gaveUp: ({ code, message }) => ({ type: 'PACK_FAILED', code, message }),
    },
  },
  publicContext: ({ secret: _, ...context }) => context,
  teamOf: ({ name }) => (name.startsWith('t-') ? name.slice(0, 3) : null),
  projections: [
    {
      table: 'parcels',
      key: ['id'],
      columns: ['id', 'path', 'weight', 'notes', 'packed_at'],
      upsert: ({ id, path, context, done, since }) =>
        done
          ? []
          : [
              {
                id,
                path,
                weight: context.weight,
                notes: context.notes,
                packed_at: context.weight > 0 ? new Date(since).toISOString() : null,
              },
            ],
      remove: ({ id, done }) => (done ? [{ id }] : []),
    },
  ],
};

/** The read model of the tests. */
export const PARCELS_SQL =
  'create table parcels (id text primary key, path text not null, weight int not null, notes jsonb not null, packed_at timestamptz)';

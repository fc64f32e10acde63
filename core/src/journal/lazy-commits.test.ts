import { cp, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, test } from 'vitest';
import {
  type ActorDefinition,
  createJournalRuntime,
  durableActions,
  type EffectDefinition,
  type EffectHandler,
  type JournalEntry,
  type JournalRuntime,
  setup,
} from '../index.ts';
import { decodeFrames, encodeFrame } from './frames.ts';

/** A relay of three legs, each an effect that may start once it is written; the asker hears at the end. */
const LEGS = ['first', 'second', 'third'] as const;
type Context = { asker: string };
const run = (during: string): EffectDefinition<Context> => ({
  while: during,
  input: () => ({ leg: during }),
  results: ['RAN'],
  retry: { attempts: null, firstDelayMs: 10, factor: 1, maxDelayMs: 10 },
  start: 'written',
  gaveUp: () => ({ type: 'RAN' }),
});
const relay: ActorDefinition<Context> = {
  kind: 'relay',
  version: 1,
  machine: setup({
    types: {} as { context: Context; input: { asker: string }; events: { type: 'RAN' | 'CREATE' } },
    actions: durableActions,
  }).createMachine({
    context: ({ input }) => ({ asker: input.asker }),
    initial: 'first',
    states: {
      first: { entry: { type: 'effect', params: { name: 'first' } }, on: { RAN: 'second' } },
      second: { entry: { type: 'effect', params: { name: 'second' } }, on: { RAN: 'third' } },
      third: { entry: { type: 'effect', params: { name: 'third' } }, on: { RAN: 'arrived' } },
      arrived: {
        entry: {
          type: 'answer',
          params: ({ context }) => ({ to: context.asker, answer: { ok: true, value: 'arrived' } }),
        },
      },
    },
  }),
  input: ({ meta }) => ({ asker: meta.id }),
  commands: { CREATE: { title: 'Start', answer: 'later', creates: true } },
  effects: { first: run('first'), second: run('second'), third: run('third') },
};

const user = { type: 'user', id: 'usr-1' } as const;
const lock = async () => ({ release: () => undefined });
const ref = (id: string) => ({ kind: 'relay', id });
const ran: EffectHandler = async () => ({ type: 'RAN' });

let root: string;
beforeAll(async () => {
  root = await mkdtemp(join(tmpdir(), 'wrenn-lazy-'));
});
afterAll(() => rm(root, { recursive: true, force: true }));

/** Handlers note each start; `third` waits for `open`. */
function relayHandlers(open: Promise<unknown>) {
  const starts: string[] = [];
  const noting =
    (after: Promise<unknown>): EffectHandler =>
    async ({ name, actor }, signal) => {
      starts.push(`${actor.id} ${name}`);
      const left = new Promise((resolve) => signal.addEventListener('abort', resolve, { once: true }));
      await Promise.race([after, left]);
      return signal.aborted ? null : { type: 'RAN' };
    };
  return {
    starts,
    handlers: { first: noting(Promise.resolve()), second: noting(Promise.resolve()), third: noting(open) },
  };
}

/** Without a quiet that syncs, unless it is told. */
async function started(
  dir: string,
  handlers: Record<string, EffectHandler>,
  quietMs = 3_600_000,
): Promise<JournalRuntime> {
  const runtime = createJournalRuntime({ dir, definitions: [relay], handlers, lock, quietMs });
  await runtime.start();
  return runtime;
}

/** Resolves when the log holds this many records: they are written, whether or not they are synced. */
async function written(dir: string, records: number): Promise<Buffer> {
  for (;;) {
    const bytes = await readFile(join(dir, 'log.0'));
    if (decodeFrames(bytes).records.length >= records) return bytes;
    await new Promise((resolve) => setTimeout(resolve, 2));
  }
}

test('a command of several steps that may start when written costs one sync, before its answer', async () => {
  const runtime = await started(join(root, 'one'), { first: ran, second: ran, third: ran });
  const before = runtime.syncs;
  expect(await runtime.ask(ref('a'), { type: 'CREATE' }, { cause: user })).toEqual({ ok: true, value: 'arrived' });
  expect(runtime.syncs - before).toBe(1);
  expect(runtime.cursor).toBe('4');
  await runtime.stop();
});

test('what is only written is shown to nobody before a sync, which any other commit brings', async () => {
  const dir = join(root, 'shown');
  let open: () => void = () => undefined;
  const gate = new Promise<void>((resolve) => {
    open = resolve;
  });
  const { starts, handlers } = relayHandlers(gate);
  const runtime = await started(dir, handlers);
  await runtime.tell(ref('other'), { type: 'CREATE' }, { cause: user });
  await written(dir, 3);
  await runtime.effects(ref('other'));
  const { syncs, cursor } = runtime;
  const feed = runtime.feed(null, new AbortController().signal)[Symbol.asyncIterator]();
  let told: JournalEntry | null = null;
  const next = feed.next().then(({ value }) => {
    told = value;
  });
  const asked = runtime.ask(ref('a'), { type: 'CREATE' }, { cause: user });
  await written(dir, 6);
  expect(starts.slice(3)).toEqual(['a first', 'a second', 'a third']);
  expect(await runtime.read(ref('a'))).toBeNull();
  expect((await runtime.list()).map(({ id }) => id)).toEqual(['other']);
  expect(await runtime.journal(ref('a'), {})).toEqual([]);
  expect([runtime.syncs, runtime.cursor, told]).toEqual([syncs, cursor, null]);

  expect(await runtime.ask(ref('other'), { type: 'CREATE' }, { cause: user })).toMatchObject({
    error: { code: 'already_exists' },
  });
  expect(runtime.syncs).toBe(syncs + 1);
  expect(await runtime.read(ref('a'))).toMatchObject({ path: 'third' });
  await next;
  expect(told).toMatchObject({ id: 'a', seq: 1 });
  open();
  expect(await asked).toEqual({ ok: true, value: 'arrived' });
  await runtime.stop();
});

test('what is only written is synced when it becomes quiet, and whoever looks at the open work brings a sync', async () => {
  const { handlers } = relayHandlers(new Promise(() => undefined));
  const runtime = await started(join(root, 'quiet'), handlers, 20);
  const asked = Promise.allSettled([runtime.ask(ref('a'), { type: 'CREATE' }, { cause: user })]);
  for await (const entry of runtime.feed('0', new AbortController().signal)) if (entry.path === 'third') break;
  await runtime.stop();
  await asked;

  const loud = await started(join(root, 'loud'), handlers);
  const other = Promise.allSettled([loud.ask(ref('a'), { type: 'CREATE' }, { cause: user })]);
  await written(join(root, 'loud'), 3);
  expect(await loud.effects(ref('a'))).toMatchObject([{ name: 'third', status: 'running' }]);
  expect(await loud.read(ref('a'))).toMatchObject({ path: 'third' });
  await loud.stop();
  await other;
});

test('whoever tells hears when it is durable, also where the commit opens such an effect', async () => {
  const { handlers } = relayHandlers(new Promise(() => undefined));
  const runtime = await started(join(root, 'told'), handlers);
  const before = runtime.syncs;
  await runtime.tell(ref('a'), { type: 'CREATE' }, { cause: user });
  expect(runtime.syncs).toBe(before + 1);
  await runtime.stop();
});

test('a tail that is lost at any byte: the actor is at an earlier step, which runs again, and everyone is answered', async () => {
  const dir = join(root, 'tail');
  const { handlers } = relayHandlers(new Promise(() => undefined));
  const runtime = await started(dir, handlers);
  const before = runtime.syncs;
  const asked = Promise.allSettled(
    ['a', 'b'].map((id) => runtime.ask(ref(id), { type: 'CREATE' }, { cause: user, messageId: id })),
  );
  const bytes = await written(dir, 3); // a and b may share a record
  expect(runtime.syncs).toBe(before);
  const crashed = join(root, 'crashed');
  await cp(dir, crashed, { recursive: true });
  await runtime.stop();
  await asked;

  const { records } = decodeFrames(bytes);
  const ends: number[] = [];
  for (const record of records) ends.push((ends.at(-1) ?? 0) + encodeFrame(record).length);
  for (let length = 0; length <= bytes.length; length += 1) {
    const whole = ends.filter((end) => end <= length).length;
    expect(decodeFrames(bytes.subarray(0, length)).records).toEqual(records.slice(0, whole));
    const nearEnd = [0, ...ends].some((end) => Math.abs(end - length) < 3);
    if (!nearEnd && length % 211 !== 0) continue; // each of the others costs a few syncs
    await writeFile(join(crashed, 'log.0'), bytes.subarray(0, length));
    const { starts, handlers } = relayHandlers(Promise.resolve());
    const again = await started(crashed, handlers);
    const present = new Map((await again.list()).map(({ id, path }) => [id, path]));
    for (const id of ['a', 'b']) {
      expect(await again.ask(ref(id), { type: 'CREATE' }, { cause: user, messageId: id })).toEqual({
        ok: true,
        value: 'arrived',
      });
      const at = LEGS.indexOf((present.get(id) ?? 'first') as (typeof LEGS)[number]);
      expect(starts.filter((start) => start.startsWith(id))).toEqual(LEGS.slice(at).map((name) => `${id} ${name}`));
      expect((await again.journal(ref(id), {})).map(({ seq }) => seq)).toEqual([1, 2, 3, 4]);
    }
    await again.stop();
    await rm(join(crashed, 'log.0'));
  }
}, 60_000);

import { randomUUID } from 'node:crypto';
import fc from 'fast-check';
import { afterAll, beforeAll, expect, test } from 'vitest';
import type { TestDatabase } from '../../../scripts/dev/test-database.ts';
import { type ActorRef, createPostgresRuntime, type PostgresRuntime } from '../index.ts';
import { PreparedMachine } from '../step/prepared-machine.ts';
import { replay } from '../step/replay.ts';
import { actorRow } from '../step/stored-actor.ts';
import { CutProxy } from '../testing/cut-proxy.ts';
import { rowsOf, runtimeDatabase } from '../testing/database.ts';
import { parcel } from '../testing/parcel.ts';
import { ACTOR_COLUMNS, type Raw, toActorRow } from './rows.ts';

/** Any order of commands with a crash between any two: nothing is lost, done twice, or other than its journal says (I7, I8, X3). */

const user = { type: 'user', id: 'usr-1' } as const;
let database: TestDatabase;
beforeAll(async () => {
  database = await runtimeDatabase();
});
afterAll(() => database?.drop());

/** A runtime that can be cut from its database as by a power cut: what it still believes no longer matters. */
class Crashable {
  runtime!: PostgresRuntime;
  #proxy!: CutProxy;
  readonly #leftovers: Promise<unknown>[] = [];

  async start(): Promise<void> {
    this.#proxy = await CutProxy.before(new URL(database.url));
    const pack = async ({ attempt }: { attempt: number }) => {
      if (attempt < 2) throw new Error('first try fails');
      return { type: 'PACKED', weight: attempt };
    };
    const connection = this.#proxy.url(database.url);
    this.runtime = createPostgresRuntime({ connection, definitions: [parcel], handlers: { pack }, lanes: 2 });
    await this.runtime.start();
  }

  async crash(): Promise<void> {
    this.#proxy.cut({ refuse: true });
    this.#leftovers.push(
      this.runtime.stop().catch(() => undefined),
      this.#proxy.close(),
    );
    await this.start();
  }

  async end(): Promise<void> {
    await this.runtime.stop();
    await Promise.all([...this.#leftovers, this.#proxy.close()]);
  }
}

const step = fc.oneof(
  {
    weight: 6,
    arbitrary: fc.record({
      type: fc.constantFrom('NOTE', 'REPACK', 'TOUCH', 'LABEL', 'TELL'),
      actor: fc.nat(2),
      wait: fc.boolean(),
    }),
  },
  { weight: 1, arbitrary: fc.record({ type: fc.constant('CANCEL'), actor: fc.nat(2), wait: fc.boolean() }) },
  { weight: 2, arbitrary: fc.record({ type: fc.constant('crash'), actor: fc.constant(0), wait: fc.constant(true) }) },
);

test('orders of commands and crashes', async () => {
  const machine = new PreparedMachine(parcel);
  const property = fc.asyncProperty(fc.array(step, { minLength: 5, maxLength: 25 }), async (steps) => {
    const world = new Crashable();
    await world.start();
    const refs: ActorRef[] = Array.from({ length: 3 }, () => ({ kind: 'parcel', id: randomUUID() }));
    const answered = new Map<string, boolean>();
    /** As a caller does: asks again with the same id until there is an answer. */
    const ask = async (to: ActorRef, event: { type: string; [field: string]: string | number }) => {
      const messageId = randomUUID();
      for (;;) {
        const answer = await world.runtime.ask(to, event, { cause: user, messageId }).catch(() => null);
        if (answer) {
          answered.set(messageId, answer.ok);
          return;
        }
        await new Promise((resolve) => setTimeout(resolve, 10));
      }
    };
    const asked: Promise<void>[] = refs.map((to) => ask(to, { type: 'CREATE', idleMs: 30, packMs: 5_000 }));
    for (const [i, { type, actor, wait }] of steps.entries()) {
      const to = refs[actor] as ActorRef;
      if (type === 'crash') await world.crash();
      else {
        const asking = ask(to, { type, text: `${i}`, to: (refs[(actor + 1) % 3] as ActorRef).id });
        asked.push(asking);
        if (wait && i % 3 === 0) await asking;
      }
    }
    await Promise.all(asked);
    // At rest: nothing under way, and the short timer has fired everywhere, so that what is read below stands still.
    const underWay = `select from actor_outbox union all select from actor_effects
                      union all select from actor_timers where delay = 'idle'`;
    await expect.poll(() => rowsOf(database.url, underWay), { timeout: 5_000 }).toEqual([]);
    for (const ref of refs) {
      const journal = await world.runtime.journal(ref, { limit: 1_000 });
      const [raw] = await rowsOf<Raw>(database.url, `select ${ACTOR_COLUMNS} from actors where id = $1`, [ref.id]);
      const replayed = replay(machine, ref, journal);
      expect(replayed && JSON.parse(JSON.stringify(actorRow(machine, replayed)))).toEqual(
        JSON.parse(JSON.stringify(toActorRow(raw as Raw))),
      ); // I7
      const timers = await world.runtime.timers(ref);
      expect(timers.map(({ event }) => event)).toEqual([...(replayed?.timers.keys() ?? [])]);
      const ids = journal.map(({ messageId }) => messageId).filter((id) => answered.has(id));
      expect(new Set(ids).size).toBe(ids.length); // handled once
    }
    const answers = await rowsOf<{ message_id: string; ok: boolean }>(
      database.url,
      "select message_id, (answer ->> 'ok')::boolean as ok from actor_answers where message_id = any ($1)",
      [[...answered.keys()]],
    );
    expect(new Map(answers.map(({ message_id, ok }) => [message_id, ok]))).toEqual(answered); // I8
    await world.end();
  });
  await fc.assert(property, { numRuns: 12, endOnFailure: true });
}, 180_000);

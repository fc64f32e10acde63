import { randomUUID } from 'node:crypto';
import pg from 'pg';
import { expect, test } from 'vitest';
import { fold } from '../engine/fold.ts';
import { newResident, queued } from '../engine/resident.ts';
import { createPostgresRuntime } from '../index.ts';
import { PreparedMachine } from '../step/prepared-machine.ts';
import { rowsOf, runtimeDatabase } from '../testing/database.ts';
import { parcel } from '../testing/parcel.ts';
import { Committer } from './committer.ts';

test('an owner that does not know yet that it lost an actor neither denies it nor writes it', async () => {
  const database = await runtimeDatabase();
  const runtime = createPostgresRuntime({
    connection: database.url,
    definitions: [parcel],
    handlers: { pack: async () => ({ type: 'PACKED', weight: 1 }) },
  });
  await runtime.start();
  const other = new pg.Client({ connectionString: database.url });
  await other.connect();
  try {
    const ref = { kind: 'parcel', id: randomUUID() };
    const cause = { type: 'user', id: 'usr-1' } as const;
    const note = () => runtime.ask(ref, { type: 'NOTE', text: 'mine' }, { cause });
    expect(await note()).toMatchObject({ ok: false, error: { code: 'not_found' } }); // and remembers so
    await other.query("update partitions set owner = 'gone again', epoch = 999");
    const make = { id: 'made', to: ref, event: { type: 'CREATE_NOW' }, cause, asked: false };
    const resident = { ...newResident(ref, `parcel:${ref.id}`), known: true };
    const { commit } = fold(new PreparedMachine(parcel), resident, [queued(make)], Date.now(), 999);
    expect(await new Committer([parcel]).commit(other, [commit as never])).toEqual([{ type: 'committed' }]);
    expect(await note()).toMatchObject({ ok: true, value: { context: { notes: ['mine'] } } });
    await other.query("update partitions set owner = 'gone again', epoch = 1999");
    expect(await note()).toMatchObject({ ok: true, value: { context: { notes: ['mine', 'mine'] } } });
    expect(await rowsOf(database.url, "select from actor_events where event ->> 'type' = 'NOTE'")).toHaveLength(2);
  } finally {
    await runtime.stop();
    await other.end();
    await database.drop();
  }
});

import { cp, mkdir, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { type ActorView, createJournalRuntime, type EffectHandler, type JournalRuntime } from '../index.ts';
import { PreparedMachine } from '../step/prepared-machine.ts';
import { replay } from '../step/replay.ts';
import { actorRow } from '../step/stored-actor.ts';
import { Child } from '../testing/child.ts';
import { parcel } from '../testing/parcel.ts';
import { crc32c } from './crc32c.ts';
import { decodeFrames, encodeFrame } from './frames.ts';
import { JournalFile } from './journal-file.ts';
import { type JournalRecord, JournalState } from './journal-state.ts';

const user = { type: 'user', id: 'usr-1' } as const;
const lock = async () => ({ release: () => undefined });
const pack: EffectHandler = async () => ({ type: 'PACKED', weight: 3 });
const ref = (id: string) => ({ kind: 'parcel', id });
const machine = new PreparedMachine(parcel);

let root: string;
beforeAll(async () => {
  root = await mkdtemp(join(tmpdir(), 'wrenn-torn-'));
});
afterAll(() => rm(root, { recursive: true, force: true }));

async function started(dir: string, options: { compactBytes?: number } = {}): Promise<JournalRuntime> {
  const runtime = createJournalRuntime({ dir, definitions: [parcel], handlers: { pack }, lock, ...options });
  await runtime.start();
  return runtime;
}

/** State of a folder after opening it, without running anything. */
async function stateOf(dir: string): Promise<JournalState> {
  const state = new JournalState({ entries: 1_000, doneMs: 1e12 });
  const apply = (record: unknown) => state.apply(record as JournalRecord);
  const file = new JournalFile({ dir, apply, synced: () => state.synced(), compacted: () => [] });
  await file.open();
  await file.close();
  return state;
}

const rowsIn = (state: JournalState) => [...state.actors.values()].map(({ row }) => row);

test('CRC-32C has the check value of its standard (RFC 3720, B.4)', () => {
  expect(crc32c(Buffer.from('123456789'))).toBe(0xe3069283);
  expect(crc32c(Buffer.alloc(32))).toBe(0x8a9136aa);
});

test('a log that was cut or damaged at any byte gives the commits before it, and can be written on', async () => {
  const dir = join(root, 'whole');
  const runtime = await started(dir);
  await runtime.ask(ref('a'), { type: 'CREATE' }, { cause: user });
  await runtime.ask(ref('a'), { type: 'NOTE', text: 'one' }, { cause: user });
  await runtime.ask(ref('b'), { type: 'CREATE' }, { cause: user });
  await runtime.stop();
  const bytes = await readFile(join(dir, 'log.0'));
  const { records } = decodeFrames(bytes);
  const ends: number[] = [];
  for (const record of records) ends.push((ends.at(-1) ?? 0) + encodeFrame(record).length);
  expect(ends.at(-1)).toBe(bytes.length);
  expect(records.length).toBeGreaterThanOrEqual(5);
  const expected = records.map((_, i) => {
    const state = new JournalState({ entries: 1_000, doneMs: 1e12 });
    for (const record of records.slice(0, i)) state.apply(record as JournalRecord);
    return rowsIn(state);
  });
  const torn = join(root, 'torn');
  await mkdir(torn);
  for (let length = 0; length < bytes.length; length += 1) {
    const whole = ends.filter((end) => end <= length).length;
    const damaged = Buffer.from(bytes);
    damaged[length] = (damaged[length] as number) ^ 0x10;
    expect(decodeFrames(bytes.subarray(0, length))).toEqual({
      records: records.slice(0, whole),
      length: ends[whole - 1] ?? 0,
    });
    expect(decodeFrames(damaged).length).toBe(ends[whole - 1] ?? 0);
    const nearEnd = ends.some((end) => Math.abs(end - length) < 12);
    if (!nearEnd && length % 97 !== 0) continue; // each of the others costs two syncs
    for (const content of [bytes.subarray(0, length), damaged]) {
      await writeFile(join(torn, 'log.0'), content);
      expect(rowsIn(await stateOf(torn))).toEqual(expected[whole]);
      expect((await readFile(join(torn, 'log.0'))).length).toBe(ends[whole - 1] ?? 0);
    }
  }
  const again = await started(torn);
  expect(await again.ask(ref('c'), { type: 'CREATE' }, { cause: user })).toMatchObject({ ok: true });
  await again.stop();
  expect(rowsIn(await stateOf(torn)).map(({ id }) => id)).toContain('c');
}, 120_000);

test('a compaction that was interrupted anywhere loses nothing', async () => {
  const dir = join(root, 'compacting');
  const before = await started(dir);
  await before.ask(ref('a'), { type: 'CREATE' }, { cause: user });
  await before.stop();
  const uncompacted = join(root, 'uncompacted');
  await cp(dir, uncompacted, { recursive: true });
  const compacting = await started(dir, { compactBytes: 1 });
  await compacting.ask(ref('a'), { type: 'NOTE', text: 'x' }, { cause: user });
  await compacting.stop();
  const rows = rowsIn(await stateOf(dir));
  const snapshot = await readFile(join(dir, 'snapshot'));
  const earlier = rowsIn(await stateOf(uncompacted));
  for (const length of [0, 10, snapshot.length - 1, snapshot.length]) {
    const half = join(root, `half-${length}`);
    await cp(uncompacted, half, { recursive: true });
    await writeFile(join(half, 'snapshot.new'), snapshot.subarray(0, length));
    await writeFile(join(half, 'log.1'), '');
    expect(rowsIn(await stateOf(half))).toEqual(earlier);
  }
  const renamed = join(root, 'renamed');
  await cp(dir, renamed, { recursive: true });
  await cp(join(uncompacted, 'log.0'), join(renamed, 'log.0'));
  expect(rowsIn(await stateOf(renamed))).toEqual(rows);
  await writeFile(join(renamed, 'snapshot'), snapshot.subarray(0, snapshot.length - 3));
  await expect(stateOf(renamed)).rejects.toThrow('damaged');
});

test('kill −9 under load: what was answered is there, once, and the journal gives the stored state (I7)', async () => {
  const dir = join(root, 'killed');
  const answered: string[] = [];
  for (let round = 0; round < 4; round += 1) {
    const child = await Child.started(dir);
    if (round === 0) await child.ask(ref('a'), { type: 'CREATE' });
    const asking = Array.from({ length: 200 }, (_, i) => `${round}-${i}`).map((text) =>
      child.ask(ref('a'), { type: 'NOTE', text }, text).then(({ ok }) => ok && answered.push(text)),
    );
    await Promise.any(asking);
    await new Promise((resolve) => setTimeout(resolve, 5 * round));
    await child.kill();
  }
  const runtime = await started(dir);
  const view = await runtime.read(ref('a'));
  const { notes } = (view as ActorView<{ notes: string[] }>).context;
  expect(new Set(notes).size).toBe(notes.length);
  expect(notes).toEqual(expect.arrayContaining(answered));
  const journal = await runtime.journal(ref('a'), { limit: 10_000 });
  const state = replay(machine, ref('a'), journal);
  expect(state && JSON.parse(JSON.stringify(actorRow(machine, state)))).toMatchObject({
    seq: view?.seq,
    path: view?.path,
    snapshot: { context: view?.context },
  });
  const last = notes.at(-1) as string;
  await runtime.ask(ref('a'), { type: 'NOTE', text: last }, { cause: user, messageId: last });
  expect((await runtime.read(ref('a')))?.seq).toBe(view?.seq);
  await runtime.stop();
}, 60_000);

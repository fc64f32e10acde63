import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { create } from '@bufbuild/protobuf';
import { type JournalEntry, silentLog } from '@wrenn/core';
import {
  VmStatus,
  WatchSandboxesRequestSchema,
  type WatchSandboxesResponse,
} from '@wrenn/proto/hostagent/v1/hostagent_pb';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { openVmJournal, type VmJournal } from '../vm-journal.ts';
import type { ServiceContext } from './context.ts';
import { publicEntry } from './public-entry.ts';
import { watchSandboxes } from './watch.ts';

const KEPT = 3;
const GRAVES = 6;
const sandbox = (number: number) => `sb${String(number).padStart(20, '0')}`;

let folder: string;
let journal: VmJournal;
let ending: AbortController;

beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'wrenn-watch-'));
  journal = await openVmJournal({ folder, handlers: {}, log: silentLog, keepEntries: KEPT });
  ending = new AbortController();
  for (let number = 1; number <= GRAVES; number++) await bury(number);
});

afterEach(async () => {
  ending.abort();
  await journal.close();
  await rm(folder, { recursive: true });
});

/** A destroy of what was never there: an actor that is gone from its first commit. */
async function bury(number: number): Promise<void> {
  const event = { type: 'DESTROY', sandbox_id: sandbox(number), incarnation: 1, key: `key-${number}`, epoch: 1 };
  const answer = await journal.runtime.ask({ kind: 'vm', id: `${sandbox(number)}.1` }, event, {
    cause: { type: 'system' },
  });
  expect(answer.ok).toBe(true);
}

function watch(cursor: bigint, storeId = journal.storeId) {
  const request = create(WatchSandboxesRequestSchema, { cursor, storeId });
  return watchSandboxes({ journal } as ServiceContext, request, ending.signal);
}

const summary = ({ item, cursor }: WatchSandboxesResponse): string => {
  if (item.case === 'report')
    return `${cursor} ${item.value.sandboxId.at(-1)} ${VmStatus[item.value.status]} ${item.value.key}`;
  return item.case === 'heartbeat'
    ? `${cursor} ${item.value.caughtUp ? 'caught up' : 'behind'}`
    : `${cursor} ${item.case}`;
};

async function take(count: number, stream: AsyncGenerator<WatchSandboxesResponse>): Promise<string[]> {
  const taken: string[] = [];
  while (taken.length < count) {
    const next = await stream.next();
    if (next.done) break;
    taken.push(summary(next.value));
  }
  return taken;
}

test('AG1: replays after the cursor, entry and fact under one cursor, then says that it is live, and is', async () => {
  const stream = watch(4n);
  expect(await take(5, stream)).toEqual([
    '5 journalJson',
    '5 5 GONE key-5',
    '6 journalJson',
    '6 6 GONE key-6',
    '6 caught up',
  ]);
  const live = take(2, stream);
  await bury(7);
  expect(await live).toEqual(['7 journalJson', '7 7 GONE key-7']);
});

test('a reader that has it all is told so first; one of another store gets everything', async () => {
  expect(await take(1, watch(6n))).toEqual(['6 caught up']);
  expect((await take(GRAVES + 1, watch(6n, 'another-store'))).at(-1)).toBe('6 caught up');
});

test('where the journal does not go back so far, what is true now stands for it', async () => {
  const stream = watch(0n);
  const replay = await take(GRAVES + 1, stream);
  expect(replay.at(-1)).toBe('6 caught up');
  expect(replay.slice(0, -1).map((line) => line.split(' ')[1])).toEqual(['1', '2', '3', '4', '5', '6']);
  const live = take(2, stream);
  await bury(8);
  expect(await live).toEqual(['7 journalJson', '7 8 GONE key-8']);
});

test('a start leaves without its secrets', () => {
  const spec = { template: 'minimal', access_token: 'secret', envs: { KEY: 'secret' } };
  const entry = { event: { type: 'CREATE', spec } } as unknown as JournalEntry;
  expect(JSON.stringify(publicEntry(entry))).not.toContain('secret');
  expect(publicEntry(entry).event.spec).toEqual({ template: 'minimal' });
});

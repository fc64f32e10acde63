import pg from 'pg';
import { afterAll, afterEach, beforeAll, beforeEach, expect, test } from 'vitest';
import { call, signUp, startGateway } from './gateway.ts';
import { FeedViewer, type Frame } from './testing/feed-viewer.ts';
import { type Fleet, startFleet } from './testing/fleet.ts';

let fleet: Fleet;
let admin: string;
let key: string;
let other: string;
let open: FeedViewer[] = [];

beforeAll(async () => {
  fleet = await startFleet();
  admin = (await signUp(fleet)).token;
  await fleet.addHost({ vcpus: 200, memoryMb: 500_000 });
  other = await fleet.newKey();
});
/** A team of its own for each test: what others left behind still ends. */
beforeEach(async () => {
  key = await fleet.newKey();
});
afterEach(() => {
  for (const viewer of open) viewer.leave();
  open = [];
});
afterAll(() => fleet?.close());

async function watch(query = '', headers: Record<string, string> = { 'x-api-key': key }): Promise<FeedViewer> {
  const viewer = await FeedViewer.open(fleet.url, `/v1/actors/feed?${query}`, headers);
  open.push(viewer);
  await expect.poll(() => viewer.frames[0]?.type).toBe('hello');
  return viewer;
}

const create = async (body: object = {}, by = key): Promise<string> =>
  (await call(fleet, 'POST', '/v1/sandboxes', { key: by, body })).body.id;
/** The watch of a host tells again what the answer told: journalled as late. */
const steps = (frames: Frame[]) => frames.filter(({ outcome }) => outcome === 'transition');
const names = (frames: Frame[]) => frames.map(({ kind, event }) => `${kind} ${event.type}`);
const places = (frames: Frame[]) => frames.map(({ kind, id, seq }) => `${kind}:${id}:${seq}`);

test('API11: after hello nothing is missed: entries of sandboxes and of their vms, as deltas', async () => {
  const viewer = await watch();
  const [hello] = viewer.frames;
  expect(hello).toMatchObject({
    type: 'hello',
    mode: 'entries',
    cursor: expect.any(String),
    total: expect.any(Number),
  });
  const id = await create({ envs: { PASSWORD: 'hush' } });
  await expect
    .poll(() => names(steps(viewer.entries)).sort())
    .toEqual(['sandbox CREATE', 'sandbox RESERVED', 'sandbox VM_READY', 'vm CREATE'].sort());
  const ready = viewer.entries.find(({ event }) => event.type === 'VM_READY');
  expect(ready).toMatchObject({
    id,
    seq: 3,
    outcome: 'transition',
    effect_key: expect.any(String),
    cursor: expect.any(String),
  });
  expect(ready.diff).toContainEqual(expect.objectContaining({ op: 'replace', path: '/status', value: 'running' }));
  expect(ready).not.toHaveProperty('context');
  const vm = viewer.entries.find(({ kind }) => kind === 'vm');
  expect(vm).toMatchObject({ id: `${id}.1`, host_cursor: String(ready.event.cursor) });
  expect(JSON.stringify(viewer.frames)).not.toMatch(/hush|access_token|traffic_token|"secret"/);
});

test('API11: a viewer that resumes gets the rest of both journals, once', async () => {
  const first = await watch();
  const id = await create();
  await expect.poll(() => steps(first.entries).length).toBe(4);
  for (const entry of steps(first.entries)) {
    const again = await watch(`cursor=${entry.cursor}&id=${id}`);
    const rest = steps(first.entries.slice(first.entries.indexOf(entry) + 1));
    await expect.poll(() => places(steps(again.entries)).sort()).toEqual(places(rest).sort());
    again.leave();
  }
  const none = await watch(`cursor=${first.cursor}`);
  await call(fleet, 'POST', `/v1/sandboxes/${id}/ping`, { key });
  await expect.poll(() => names(steps(none.entries))).toEqual(['sandbox PING']);
});

test('API11: kind, id and brief choose; teams see their own, platform admins all', async () => {
  const [vms, briefly, theirs, everything] = await Promise.all([
    watch('kind=vm'),
    watch('brief=true'),
    watch('', { 'x-api-key': other }),
    watch('all=true&kind=sandbox', { authorization: `Bearer ${admin}` }),
  ]);
  const one = await create();
  const two = await create();
  const single = await watch(`id=${one}&cursor=${vms.frames[0].cursor}`);
  const both = await watch(`id=${two},${one}&cursor=${vms.frames[0].cursor}`);
  await expect.poll(() => places(vms.entries)).toEqual([`vm:${one}.1:1`, `vm:${two}.1:1`]);
  await expect.poll(() => steps(briefly.entries).length).toBe(8);
  expect(briefly.entries[0].event).toEqual({ type: 'CREATE' });
  expect(briefly.entries.some((entry) => 'diff' in entry)).toBe(false);
  await expect.poll(() => steps(single.entries).length).toBe(4);
  expect(single.entries.every(({ id }) => id.startsWith(one))).toBe(true);
  await expect.poll(() => steps(both.entries).length).toBe(8);
  await expect.poll(() => steps(everything.entries.filter(({ id }) => id === one || id === two)).length).toBe(6);
  expect(theirs.entries).toEqual([]);
  const refused = (query: string) => watch(query).catch((error: Error) => error.message);
  expect(await refused('all=true')).toContain('403');
  expect(await refused('cursor=nonsense')).toContain('400');
  expect(await refused('collapse_above=10001')).toContain('400');
});

test('API11: across concurrent commits and reconnections nothing is missed and nothing comes twice', async () => {
  const start = (await watch()).cursor;
  const seen: Frame[] = [];
  let cursor = start;
  let done = false;
  const reader = (async () => {
    // A viewer that is cut off again and again, in the middle of frames that it has not read.
    for (let turn = 0; !done || turn === 0; turn += 1) {
      const viewer = await watch(`cursor=${cursor}`);
      await expect.poll(() => viewer.entries.length > turn % 7 || done).toBe(true);
      viewer.leave();
      seen.push(...viewer.entries);
      cursor = viewer.cursor;
    }
  })();
  const ids = await Promise.all(Array.from({ length: 25 }, () => create()));
  await Promise.all(
    ids.map(async (id) => {
      await call(fleet, 'PATCH', `/v1/sandboxes/${id}`, { key, body: { labels: { turn: '1' } } });
      await call(fleet, 'DELETE', `/v1/sandboxes/${id}`, { key });
    }),
  );
  done = true;
  await reader;
  const { sql } = fleet.services;
  const wanted = async () => {
    const { rows } = await sql.query<{ place: string }>(
      `select kind || ':' || id || ':' || seq as place from actor_events where kind = 'sandbox' and id = any ($1)
       union all select 'vm:' || id || ':' || seq from vm_journal where split_part(id, '.', 1) = any ($1)`,
      [ids],
    );
    return rows.map(({ place }) => place).sort();
  };
  const rest = await watch(`cursor=${cursor}`);
  const all = () => places([...seen, ...rest.entries]).filter((place) => ids.some((id) => place.includes(id)));
  await expect
    .poll(async () => (await wanted()).filter((place) => place.startsWith('vm:')).length)
    .toBe(2 * ids.length);
  const journals = await wanted();
  await expect.poll(() => all().sort()).toEqual(journals);
  // Each actor's own entries came in their order.
  for (const id of ids) {
    const own = [...seen, ...rest.entries].filter((entry) => entry.kind === 'sandbox' && entry.id === id);
    expect(own.map(({ seq }) => seq)).toEqual(own.map((_, index) => index + 1));
  }
});

test('API11: a copy whose transaction is still open holds back what was committed after it', async () => {
  const teamId = await teamOf(await create());
  const url = fleet.services.config.WRENN_DATABASE_URL;
  const [slow, fast] = [new pg.Client(url), new pg.Client(url)];
  await Promise.all([slow.connect(), fast.connect()]);
  const insert = (client: pg.Client, id: string) =>
    client.query('insert into vm_journal (id, seq, at, entry) values ($1, 1, now(), $2)', [id, entryOf(id, teamId)]);
  try {
    const viewer = await watch('kind=vm');
    expect(viewer.entries).toEqual([]);
    await slow.query('begin');
    await insert(slow, 'early.1');
    await insert(fast, 'late.1');
    const marker = await watch('kind=vm'); // opened after both: its beginning is before the open transaction
    expect(viewer.entries).toEqual([]);
    await slow.query('commit');
    await expect.poll(() => places(viewer.entries)).toEqual(['vm:early.1:1', 'vm:late.1:1']);
    await expect.poll(() => places(marker.entries)).toEqual(['vm:early.1:1', 'vm:late.1:1']);
    const again = await watch(`kind=vm&cursor=${viewer.entries[0].cursor}`);
    await expect.poll(() => places(again.entries)).toEqual(['vm:late.1:1']);
  } finally {
    await Promise.all([slow.end(), fast.end()]);
  }
});

test('API11: a cursor holds on every replica, and after a restart', async () => {
  const first = await watch();
  const id = await create();
  await expect.poll(() => steps(first.entries).length).toBe(4);
  const [created] = first.entries;
  const replica = await startGateway({ databaseUrl: fleet.services.config.WRENN_DATABASE_URL });
  try {
    const elsewhere = await FeedViewer.open(replica.url, `/v1/actors/feed?id=${id}&cursor=${created.cursor}`, {
      'x-api-key': key,
    });
    const rest = () => places(steps(elsewhere.entries)).sort();
    await expect.poll(rest).toEqual(places(steps(first.entries.slice(1))).sort());
    await call(fleet, 'POST', `/v1/sandboxes/${id}/ping`, { key }); // what the first replica does is told by the second
    await expect.poll(() => names(steps(elsewhere.entries)).at(-1)).toBe('sandbox PING');
    elsewhere.leave();
  } finally {
    await replica.close();
  }
});

test('API11: above the limit a viewer gets counts per state, below it entries again', async () => {
  const viewer = await watch('collapse_above=3&kind=sandbox');
  expect(viewer.frames[0]).toMatchObject({ mode: 'entries', total: 0 });
  const ids = [];
  for (let count = 0; count < 4; count += 1) ids.push(await create());
  let collapsed = viewer;
  await expect
    .poll(async () => {
      collapsed = await watch('collapse_above=3&kind=sandbox');
      return collapsed.frames[0];
    })
    .toMatchObject({ mode: 'counts', total: 4 });
  await expect
    .poll(() => collapsed.frames[1])
    .toMatchObject({
      type: 'counts',
      full: true,
      items: [{ kind: 'sandbox', path: expect.stringContaining('running'), count: 4, stuck: 0 }],
    });
  ids.push(await create());
  await expect.poll(() => collapsed.frames[2]).toMatchObject({ type: 'counts', full: false, items: [{ count: 5 }] });
  expect(collapsed.entries).toEqual([]);
  // Who was there before is collapsed too, at the next look at the number (10 s).
  await expect
    .poll(() => viewer.frames.at(-1), { timeout: 15_000 })
    .toMatchObject({ type: 'counts', items: [{ count: 5 }] });
  for (const id of ids.slice(0, 3)) await call(fleet, 'DELETE', `/v1/sandboxes/${id}`, { key });
  await expect.poll(() => collapsed.frames.at(-1)).toMatchObject({ type: 'mode', mode: 'entries', total: 2 });
  await call(fleet, 'POST', `/v1/sandboxes/${ids[4]}/ping`, { key });
  await expect.poll(() => names(steps(collapsed.entries)).at(-1)).toBe('sandbox PING');
  expect((await watch(`id=${ids[4]}&collapse_above=1`)).frames[0].mode).toBe('entries');
});

test('API11: a slow reader is bounded and told where to resume', async () => {
  const ENTRIES = 20_000;
  const { sql } = fleet.services;
  const teamId = await teamOf(await create());
  const slow = await watch('kind=vm');
  (slow.socket as unknown as { _socket: { pause(): void; resume(): void } })._socket.pause();
  await sql.query(
    `insert into vm_journal (id, seq, at, entry)
       select 'flood.1', n, now(), jsonb_set(jsonb_set($2::jsonb, '{seq}', to_jsonb(n)), '{id}', '"flood.1"')
         from generate_series(1, $1::int) n`,
    [ENTRIES, entryOf('flood.1', teamId, 'x'.repeat(2_000))],
  );
  const { viewers } = fleet.services;
  await expect.poll(() => viewers.count).toBe(1);
  // It is let go while it reads nothing: what it then reads is what was held for it.
  await expect.poll(() => viewers.count, { timeout: 30_000 }).toBe(0);
  (slow.socket as unknown as { _socket: { pause(): void; resume(): void } })._socket.resume();
  const { code, reason } = await slow.closed;
  expect(code).toBe(1013);
  const [, cursor] = /^slow reader: resume from (\S+)$/.exec(reason) ?? [];
  const held = slow.entries.length;
  expect(held).toBeGreaterThan(0);
  expect(slow.bytes).toBeLessThan(16 << 20); // of 40 MiB
  expect(slow.cursor).toBe(cursor);
  const again = await watch(`kind=vm&cursor=${cursor}`);
  await expect.poll(() => held + again.entries.length).toBe(ENTRIES);
  expect([...slow.entries, ...again.entries].map(({ seq }) => seq)).toEqual(
    Array.from({ length: ENTRIES }, (_, index) => index + 1),
  );
}, 60_000);

async function teamOf(sandboxId: string): Promise<string> {
  const { sql } = fleet.services;
  const { rows } = await sql.query<{ team_id: string }>('select team_id from sandboxes where id = $1', [sandboxId]);
  // Its vm has been copied: no entry of it comes later.
  await expect
    .poll(async () => (await sql.query('select 1 from vm_journal where id = $1', [`${sandboxId}.1`])).rowCount)
    .toBe(1);
  return rows[0]?.team_id ?? '';
}

function entryOf(id: string, teamId: string | null, note = '') {
  return {
    ...{
      cursor: '1',
      kind: 'vm',
      id,
      seq: 1,
      at: Date.now(),
      outcome: 'transition',
      messageId: id,
      teamId: teamId ?? null,
    },
    ...{ event: { type: 'CREATE', note }, cause: { type: 'system' }, from: null, to: 'ready', path: 'ready', diff: [] },
    machineVersion: 1,
  } as never;
}

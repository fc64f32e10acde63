import { createWebSocketReceiver, type StatelyInspectionEvent } from '@statelyai/inspect';
import { setup } from '@wrenn/core';
import { afterAll, beforeAll, expect, test, vi } from 'vitest';
import { call, signUp } from './gateway.ts';
import { FeedViewer } from './testing/feed-viewer.ts';
import { type Fleet, startFleet } from './testing/fleet.ts';

let fleet: Fleet;
let admin: string;
let key: string;
let other: string;
let id: string;

beforeAll(async () => {
  fleet = await startFleet();
  admin = (await signUp(fleet)).token;
  await fleet.addHost();
  key = await fleet.newKey();
  other = await fleet.newKey();
  const body = { labels: { app: 'wren' }, envs: { PASSWORD: 'hush' } };
  id = (await call(fleet, 'POST', '/v1/sandboxes', { key, body })).body.id;
  const mirror = () => call(fleet, 'GET', `/v1/actors/vm/${id}.1`, { key });
  await vi.waitFor(async () => expect((await mirror()).status).toBe(200), { timeout: 10_000 });
});
afterAll(() => fleet?.close());

const ticketOf = async (by: { key?: string; token?: string } = { key }) =>
  (await call(fleet, 'POST', '/v1/actors/stately/tickets', by)).body as { ticket: string; path: string };

/** The package's own receiver, as outside viewers have it. */
function receive(path: string): StatelyInspectionEvent[] {
  const events: StatelyInspectionEvent[] = [];
  createWebSocketReceiver({ server: fleet.url.replace('http', 'ws') + path }).subscribe((event) => {
    events.push(event);
  });
  return events;
}
const ofType = <Type extends StatelyInspectionEvent['type']>(events: StatelyInspectionEvent[], type: Type) =>
  events.filter((event): event is Extract<StatelyInspectionEvent, { type: Type }> => event.type === type);

test('API11, Stately: the package’s own receiver attaches by a ticket and is told of the actors that are there', async () => {
  const events = receive((await ticketOf()).path);
  await expect.poll(() => events.length).toBe(2);
  const [sandbox, vm] = ofType(events, '@xstate.actor');
  expect(sandbox).toMatchObject({
    name: `sandbox ${id}`,
    sessionId: `sandbox:${id}`,
    rootId: `sandbox:${id}`,
    _version: '0.7.2',
    snapshot: { status: 'active', context: { status: 'running', spec: { labels: { app: 'wren' } } } },
  });
  expect(vm).toMatchObject({ sessionId: `vm:${id}.1`, parentId: `sandbox:${id}`, rootId: `sandbox:${id}` });
  // A viewer draws the chart from the definition: it names every state that the snapshot may have.
  const config = JSON.parse(sandbox?.definition ?? 'null');
  expect(Object.keys(config.states)).toContain('running');
  const { body: actor } = await call(fleet, 'GET', `/v1/actors/sandbox/${id}`, { key });
  expect(sandbox?.snapshot.value).toEqual(actor.state);
  const machine = setup({}).createMachine(config);
  const resolved = machine.resolveState({ value: actor.state, context: sandbox?.snapshot.context });
  expect(resolved.value).toEqual(actor.state);
  expect(JSON.stringify(events)).not.toMatch(/hush|access_token":|traffic_token":/);
});

test('API11, Stately: what happens comes as actor, event and snapshot, with the context of each moment', async () => {
  const events = receive(`${(await ticketOf()).path}`);
  await expect.poll(() => events.length).toBe(2);
  const { body } = await call(fleet, 'POST', '/v1/sandboxes', { key });
  const of = (session: string) => events.filter(({ sessionId }) => sessionId === session);
  await expect
    .poll(() => of(`sandbox:${body.id}`).map((event) => [event.type, 'event' in event && event.event.type]))
    .toEqual(
      expect.arrayContaining([
        ['@xstate.actor', false],
        ['@xstate.event', 'CREATE'],
        ['@xstate.snapshot', 'CREATE'],
        ['@xstate.event', 'RESERVED'],
        ['@xstate.snapshot', 'RESERVED'],
        ['@xstate.event', 'VM_READY'],
        ['@xstate.snapshot', 'VM_READY'],
      ]),
    );
  const statuses = ofType(of(`sandbox:${body.id}`), '@xstate.snapshot').map(
    ({ snapshot }) => (snapshot as unknown as { context: { status: string } }).context.status,
  );
  expect(statuses.slice(0, 3)).toEqual(['pending', 'starting', 'running']);
  await expect.poll(() => ofType(of(`vm:${body.id}.1`), '@xstate.event').length).toBeGreaterThan(0);
  expect(ofType(of(`vm:${body.id}.1`), '@xstate.event')[0]).toMatchObject({ sourceId: `sandbox:${body.id}` });
  expect(events.every(({ createdAt, id }) => Number(createdAt) > 0 && typeof id === 'string')).toBe(true);

  await call(fleet, 'DELETE', `/v1/sandboxes/${body.id}`, { key });
  await expect.poll(() => ofType(of(`sandbox:${body.id}`), '@xstate.snapshot').at(-1)?.snapshot.status).toBe('done');
});

test('API11, Stately: authorised like the feed', async () => {
  const url = fleet.url;
  const refused = (path: string, headers: Record<string, string> = {}) =>
    FeedViewer.open(url, path, headers).then(
      () => 'open',
      (error: Error) => error.message,
    );
  expect(await refused('/v1/actors/stately')).toContain('401');
  expect(await refused('/v1/actors/stately?ticket=rubbish')).toContain('401');
  expect(await refused(`/v1/actors/stately?id=${id}`, { 'x-api-key': other })).toContain('404');
  expect(await refused('/v1/actors/stately?all=true', { 'x-api-key': key })).toContain('403');
  // A ticket is no token, and a token no ticket.
  const { ticket, path } = await ticketOf({ token: admin });
  expect((await call(fleet, 'GET', '/v1/actors', { token: ticket })).status).toBe(401);
  expect(await refused(`/v1/actors/stately?ticket=${admin}`)).toContain('401');

  const one = await FeedViewer.open(url, `/v1/actors/stately?id=${id}`, { 'x-api-key': key });
  await expect.poll(() => one.frames.map(({ sessionId }) => sessionId)).toEqual([`sandbox:${id}`, `vm:${id}.1`]);
  const theirs = await FeedViewer.open(url, '/v1/actors/stately', { 'x-api-key': other });
  const everything = await FeedViewer.open(url, `${path}&all=true&kind=host`, {});
  await expect.poll(() => everything.frames.map(({ type }) => type)).toContain('@xstate.actor');
  expect(theirs.frames).toEqual([]);
  for (const viewer of [one, theirs, everything]) viewer.leave();
});

test('API11, Stately: a ticket ends with the key that asked for it', async () => {
  const { token } = await signUp(fleet);
  const made = await call(fleet, 'POST', '/v1/api-keys', { token, body: { name: 'viewer' } });
  const { path } = await ticketOf({ key: made.body.key });
  (await FeedViewer.open(fleet.url, path, {})).leave();
  await call(fleet, 'DELETE', `/v1/api-keys/${made.body.id}`, { token });
  await expect(FeedViewer.open(fleet.url, path, {})).rejects.toThrow('401');
});

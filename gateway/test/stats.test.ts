import { afterAll, beforeAll, expect, test } from 'vitest';
import { call, signUp } from './gateway.ts';
import { type Fleet, startFleet } from './testing/fleet.ts';

/** The sampler looks every 10 s of the clock. */
const TWO_SAMPLES_MS = 25_000;

let fleet: Fleet;
let key: string;

beforeAll(async () => {
  fleet = await startFleet();
  await signUp(fleet);
  await fleet.addHost();
  key = await fleet.newKey();
});
afterAll(() => fleet?.close());

const stats = async (query = '', by = key) =>
  (await call(fleet, 'GET', `/v1/sandboxes/stats${query}`, { key: by })).body;

test('API5, MET1: what a team has now is told at once, what it had by the samples of the control plane', async () => {
  expect(await stats()).toMatchObject({ range: '1h', bucket_sec: 30, current: { running: 0, vcpus: 0, memory_mb: 0 } });
  await call(fleet, 'POST', '/v1/sandboxes', { key, body: { vcpus: 2, memory_mb: 512 } });
  const now = { running: 1, vcpus: 2, memory_mb: 512 };
  expect((await stats('?range=5m')).current).toEqual(now);
  await expect
    .poll(async () => (await stats('?range=5m')).series.at(-1), { timeout: TWO_SAMPLES_MS })
    .toMatchObject(now);
  const { peaks_30d } = await stats('?range=30d');
  expect(peaks_30d).toEqual(now);
  expect((await stats('', await fleet.newKey())).current.running).toBe(0);
}, 60_000);

test('API5: a range that is none is refused, a sandbox’s metrics are its team’s', async () => {
  expect((await call(fleet, 'GET', '/v1/sandboxes/stats?range=2h', { key })).status).toBe(400);
  const { body } = await call(fleet, 'POST', '/v1/sandboxes?wait=false', { key });
  const other = await fleet.newKey();
  expect((await call(fleet, 'GET', `/v1/sandboxes/${body.id}/metrics`, { key: other })).status).toBe(404);
  expect((await call(fleet, 'GET', `/v1/sandboxes/${body.id}/metrics?range=5m`, { key })).status).toBe(400);
});

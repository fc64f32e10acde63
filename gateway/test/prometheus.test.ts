import { afterAll, beforeAll, expect, test } from 'vitest';
import { call, signUp } from './gateway.ts';
import { type Fleet, startFleet } from './testing/fleet.ts';

let fleet: Fleet;
let admin: string;
let key: string;

beforeAll(async () => {
  fleet = await startFleet();
  admin = (await signUp(fleet)).token;
  await fleet.addHost({ vcpus: 8, memoryMb: 1_024 });
  key = await fleet.newKey();
});
afterAll(() => fleet?.close());

/** `name{labels}` → value. */
async function scrape(): Promise<Map<string, number>> {
  const { status, headers, body } = await call(fleet, 'GET', '/metrics');
  expect([status, headers.get('content-type')]).toEqual([200, 'text/plain; version=0.0.4; charset=utf-8']);
  const lines = (body as string).split('\n').filter((line) => line !== '' && !line.startsWith('#'));
  return new Map(
    lines.map((line) => {
      const [, name = '', value] = /^(\w+(?:\{.*\})?) (\S+)$/.exec(line) ?? [];
      expect(name, line).not.toBe('');
      return [name, Number(value)];
    }),
  );
}

test('MET2: /metrics tells of the fleet, of this program, and of nobody by name', async () => {
  const { body } = await call(fleet, 'POST', '/v1/sandboxes', { key, body: { vcpus: 2, memory_mb: 512 } });
  await expect
    .poll(async () => [...(await scrape()).keys()].join())
    .toContain('wrenn_actors{kind="sandbox",state="running');
  const metrics = await scrape();
  expect(metrics.get('wrenn_in_control')).toBe(1);
  expect(metrics.get('wrenn_hosts{status="online"}')).toBe(1);
  expect(metrics.get('wrenn_host_vcpus{status="online"}')).toBe(8);
  expect(metrics.get('wrenn_host_reserved_vcpus{status="online"}')).toBe(2);
  expect(metrics.get('wrenn_host_reserved_memory_bytes{status="online"}')).toBeGreaterThanOrEqual(512 << 20);
  expect(metrics.get('wrenn_sql_connections{state="open"}')).toBeGreaterThan(0);
  expect(metrics.get('process_resident_memory_bytes')).toBeGreaterThan(1 << 20);
  expect(metrics.get('nodejs_eventloop_delay_seconds{quantile="0.99"}')).toBeGreaterThanOrEqual(0);
  const text = (await call(fleet, 'GET', '/metrics')).body as string;
  expect(text).not.toContain(body.id);
  expect(text).not.toContain('host-test');
});

test('MET2: through a proxy only a platform admin reads it', async () => {
  const person = (await signUp(fleet)).token;
  const status = async (options: Parameters<typeof call>[3]) => (await call(fleet, 'GET', '/metrics', options)).status;
  const proxied = { 'x-forwarded-for': '203.0.113.9' };
  expect(await status({})).toBe(200);
  expect(await status({ headers: proxied })).toBe(401);
  expect(await status({ headers: { forwarded: 'for=203.0.113.9' } })).toBe(401);
  expect(await status({ headers: proxied, token: 'rubbish' })).toBe(401);
  expect(await status({ headers: proxied, key })).toBe(401);
  expect(await status({ headers: proxied, token: person })).toBe(403);
  expect(await status({ headers: proxied, token: admin })).toBe(200);
});

import { mkdtemp, readFile, rm, stat } from 'node:fs/promises';
import { createServer, type Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { silentLog } from '@wrenn/core';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { ControlPlane } from './control-plane.ts';
import { type HostCredentials, readCredentials, writeCredentials } from './credentials.ts';
import { Membership } from './membership.ts';

const specs = {
  vcpus: 32,
  memory_mb: 1024,
  disk_mb: 1,
  arch: 'x64',
  vmm: 'qemu/tcg',
  vmm_version: '10',
  agent_version: '1',
  store: 'qcow2',
};
const credentials = (name: string, renewInMs: number): HostCredentials => ({
  host_id: 'host-1',
  jwt: `jwt-${name}`,
  renew_at: new Date(Date.now() + renewInMs).toISOString(),
  refresh_token: `refresh-${name}`,
  cert_pem: null,
  ca_cert_pem: null,
  key_pem: 'key',
  control_plane_secret: 'secret-of-the-control-plane',
});

let server: Server;
let folder: string;
let file: string;
let calls: { url: string; authorization: string | undefined; key: unknown; body: Record<string, unknown> }[];
let answer: (url: string, authorization: string | undefined) => { status: number; body: unknown };

beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'wrenn-membership-'));
  file = join(folder, 'host-credentials.json');
  calls = [];
  answer = () => ({ status: 200, body: { ok: true } });
  server = createServer(async (request, response) => {
    let text = '';
    for await (const chunk of request) text += chunk;
    const { url = '', headers } = request;
    calls.push({ url, authorization: headers.authorization, key: headers['idempotency-key'], body: JSON.parse(text) });
    const { status, body } = answer(url, headers.authorization);
    response.writeHead(status, { 'content-type': 'application/json' }).end(JSON.stringify(body));
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
});

afterEach(async () => {
  server.closeAllConnections();
  server.close();
  await rm(folder, { recursive: true });
});

async function run(given: HostCredentials, enough: () => boolean): Promise<HostCredentials[]> {
  await writeCredentials(file, given);
  const renewed: HostCredentials[] = [];
  const membership = new Membership({
    controlPlane: new ControlPlane(`http://127.0.0.1:${(server.address() as AddressInfo).port}/`),
    credentials: given,
    file,
    log: silentLog,
    specs,
    heartbeat: () => ({ store_id: 's', cursor: 7, vms: 2, load: { cpu_pct: 1 } }),
    renewed: (fresh) => renewed.push(fresh),
  });
  membership.start();
  await expect.poll(enough, { timeout: 5_000 }).toBe(true);
  await membership.stop();
  return renewed;
}

test('H4: a heartbeat at once, with the host token', async () => {
  expect(await run(credentials('good', 100_000), () => calls.length === 1)).toEqual([]);
  expect(calls).toMatchObject([
    {
      url: '/v1/hosts/host-1/heartbeat',
      authorization: 'Bearer jwt-good',
      body: { store_id: 's', cursor: 7, vms: 2, load: { cpu_pct: 1 }, specs },
    },
  ]);
});

test('H1: what the machine offers now is told until it was heard', async () => {
  const { key_pem: _, ...issued } = credentials('fresh', 100_000);
  answer = (url) => (url.endsWith('/refresh') ? { status: 200, body: issued } : { status: 401, body: {} });
  await run(credentials('old', 100_000), () => calls.length >= 3);
  expect(calls.slice(0, 3).map(({ body }) => body)).toMatchObject([{ specs }, {}, { specs }]);
});

test('H2: a token is renewed before it expires, and what came is kept at once (0600)', async () => {
  const fresh = { ...credentials('fresh', 100_000), control_plane_secret: 'another-secret-of-it' };
  const { key_pem: _, ...issued } = fresh;
  answer = (url) => ({ status: 200, body: url === '/v1/hosts/auth/refresh' ? issued : {} });
  expect(await run(credentials('old', -1), () => calls.length === 2)).toEqual([fresh]);
  expect(calls.map(({ url }) => url)).toEqual(['/v1/hosts/auth/refresh', '/v1/hosts/host-1/heartbeat']);
  expect(calls[0]?.body).toEqual({ refresh_token: 'refresh-old' });
  expect(calls[0]?.key).toMatch(/^[0-9a-f]{64}$/);
  expect(calls[1]?.authorization).toBe('Bearer jwt-fresh');
  expect(await readCredentials(file)).toEqual(fresh);
  expect((await stat(file)).mode & 0o777).toBe(0o600);
});

test('H2: a refused token is renewed once; a refused renewal changes nothing', async () => {
  answer = () => ({ status: 401, body: { error: { code: 'invalid_token', message: 'no', details: {} } } });
  expect(await run(credentials('revoked', 100_000), () => calls.length >= 2)).toEqual([]);
  expect(calls.slice(0, 2).map(({ url }) => url)).toEqual(['/v1/hosts/host-1/heartbeat', '/v1/hosts/auth/refresh']);
  expect(JSON.parse(await readFile(file, 'utf8')).jwt).toBe('jwt-revoked');
});

test('H1: a host without a credentials file is not registered', async () => {
  expect(await readCredentials(file)).toBeNull();
});

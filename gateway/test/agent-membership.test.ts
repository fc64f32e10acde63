import { mkdtempSync, readFileSync, rmSync, statSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { silentLog } from '@wrenn/core';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { ControlPlane } from '../../agent/src/registration/control-plane.ts';
import { type HostCredentials, writeCredentials } from '../../agent/src/registration/credentials.ts';
import { Membership } from '../../agent/src/registration/membership.ts';
import { registrationKey } from '../../agent/src/registration/registration-key.ts';
import { call, signUp, startGateway, type TestGateway } from './gateway.ts';

/** The agent's own registration code against the control plane's routes (H1, H2, H4). */
let gateway: TestGateway;
let token: string;
const folder = mkdtempSync(join(tmpdir(), 'wrenn-membership-test-'));
const signal = AbortSignal.timeout(60_000);
const specs = {
  vcpus: 2,
  memory_mb: 1024,
  disk_mb: 1,
  arch: 'x64',
  vmm: 'qemu',
  vmm_version: '10',
  agent_version: '1',
  store: 'qcow2',
};

beforeAll(async () => {
  gateway = await startGateway();
  ({ token } = await signUp(gateway));
});
afterAll(async () => {
  await gateway.close();
  rmSync(folder, { recursive: true });
});

async function newHost() {
  const { body } = await call(gateway, 'POST', '/v1/hosts', { token, body: { name: 'member' } });
  return { token: body.registration_token, address: '127.0.0.1:50051', specs, store_id: 'store-member' };
}

async function registered() {
  const controlPlane = new ControlPlane(gateway.url);
  const key = await registrationKey(join(folder, 'registration-key'));
  return { controlPlane, issued: await controlPlane.register(await newHost(), key, signal) };
}

test('registers, writes its credentials for itself alone, beats, and renews a token that was revoked', async () => {
  const { controlPlane, issued } = await registered();
  const file = join(folder, 'host-credentials.json');
  // A token that is not good makes the first heartbeat 401, so that the host renews.
  const credentials: HostCredentials = { ...issued, jwt: `${issued.jwt}x`, key_pem: null };
  await writeCredentials(file, credentials);
  expect(statSync(file).mode & 0o777).toBe(0o600);
  let now = credentials;
  const membership = new Membership({
    controlPlane,
    credentials,
    file,
    log: silentLog,
    specs: { ...specs, vcpus: 24 }, // the agent was started anew, with another setting
    heartbeat: () => ({ store_id: 'store-member', cursor: 7, vms: 3, load: {} }),
    renewed: (next) => {
      now = next;
    },
  });
  membership.start();
  const shown = async () => (await call(gateway, 'GET', `/v1/hosts/${issued.host_id}`, { token })).body;
  await expect
    .poll(shown, { timeout: 10_000 })
    .toMatchObject({ status: 'online', vms: 3, vcpus: 24, specs: { vcpus: 24 } });
  await membership.stop();
  expect(now.refresh_token).not.toBe(issued.refresh_token);
  expect(JSON.parse(readFileSync(file, 'utf8'))).toEqual(now);
});

test('H1: an agent that dies before its credentials are on disk registers again with the same token; another may not', async () => {
  const host = await newHost();
  const run = async (file: string) =>
    new ControlPlane(gateway.url).register(host, await registrationKey(join(folder, file)), signal);
  const lost = await run('key-of-the-host'); // it dies here: nothing but its key is on disk
  const issued = await run('key-of-the-host');
  expect(issued.host_id).toBe(lost.host_id);
  await expect(run('key-of-another')).rejects.toMatchObject({ status: 401 });
  const beat = { store_id: 'store-member', cursor: 0, vms: 0, load: {} };
  await new ControlPlane(gateway.url).heartbeat(issued.host_id, issued.jwt, beat, signal);
  expect(statSync(join(folder, 'key-of-the-host')).mode & 0o777).toBe(0o600);
});

test('a renewal whose answer was lost is repeated and costs the host nothing', async () => {
  const { controlPlane, issued } = await registered();
  const lost = await controlPlane.refresh(issued, signal); // never written down
  const repeated = await controlPlane.refresh(issued, signal);
  expect(repeated.refresh_token).toBe(lost.refresh_token);
  await controlPlane.heartbeat(repeated.host_id, repeated.jwt, { store_id: 's', cursor: 0, vms: 0, load: {} }, signal);
  await expect(controlPlane.refresh({ ...issued, jwt: 'of a thief' }, signal)).rejects.toMatchObject({ status: 401 });
});

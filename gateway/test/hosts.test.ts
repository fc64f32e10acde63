import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { call, signUp, startGateway, type TestGateway } from './gateway.ts';

let gateway: TestGateway;
let admin: Awaited<ReturnType<typeof signUp>>;
beforeAll(async () => {
  gateway = await startGateway();
  admin = await signUp(gateway, 'admin'); // the first: platform admin
});
afterAll(() => gateway.close());

const specs = {
  vcpus: 8,
  memory_mb: 4096,
  disk_mb: 100_000,
  arch: 'x64',
  vmm: 'qemu',
  vmm_version: '10.0',
  agent_version: '0.1.0',
  store: 'qcow2',
};

async function addHost(body: object = { name: 'a host' }, token = admin.token) {
  const answer = await call(gateway, 'POST', '/v1/hosts', { token, body });
  expect(answer.status, JSON.stringify(answer.body)).toBe(201);
  return { id: answer.body.host.id as string, token: answer.body.registration_token as string };
}
const register = (token: string, overrides: object = {}, key?: string) =>
  call(gateway, 'POST', '/v1/hosts/register', {
    body: { token, address: '127.0.0.1:50051', specs, ...overrides },
    ...(key !== undefined && { headers: { 'idempotency-key': key } }),
  });
const refresh = (refresh_token: string, key?: string) =>
  call(gateway, 'POST', '/v1/hosts/auth/refresh', {
    body: { refresh_token },
    ...(key !== undefined && { headers: { 'idempotency-key': key } }),
  });
const heartbeat = (id: string, token: string, overrides: object = {}) =>
  call(gateway, 'POST', `/v1/hosts/${id}/heartbeat`, {
    token,
    body: { store_id: 'store-1', cursor: 1, vms: 0, load: { cpu: 0.5 }, ...overrides },
  });
const readHost = async (id: string) => (await call(gateway, 'GET', `/v1/hosts/${id}`, { token: admin.token })).body;
async function registeredHost() {
  const { id, token } = await addHost();
  const { body } = await register(token);
  return { id, credentials: body as { jwt: string; refresh_token: string; control_plane_secret: string } };
}

describe('H1: registration', () => {
  test('a token registers the host, once; the host comes online', async () => {
    const { id, token } = await addHost({ name: 'nest', tags: ['fast'] });
    expect(token).toMatch(/^[0-9a-f]{64}$/);
    expect(await readHost(id)).toMatchObject({ status: 'pending', name: 'nest', tags: ['fast'], address: null });
    const answer = await register(token);
    expect(answer.status).toBe(200);
    expect(answer.body).toMatchObject({ host_id: id, cert_pem: null, ca_cert_pem: null });
    expect(answer.body.control_plane_secret).toMatch(/^[0-9a-f]{64}$/);
    await expect
      .poll(() => readHost(id))
      .toMatchObject({ status: 'online', address: '127.0.0.1:50051', specs, vcpus: 8, memory_mb: 4096 });
    expect((await register(token)).status).toBe(401);
    expect((await heartbeat(id, answer.body.jwt)).body).toEqual({ ok: true });
  });

  test('of many that race with one token exactly one wins', async () => {
    const { token } = await addHost();
    const answers = await Promise.all(Array.from({ length: 10 }, () => register(token)));
    expect(answers.filter(({ status }) => status === 200)).toHaveLength(1);
    expect(answers.filter(({ status }) => status === 401)).toHaveLength(9);
  });

  test('with its key a host may use its token again, and nobody else may; not after a renewal', async () => {
    const { id, token } = await addHost();
    const first = await register(token, {}, 'key of the host');
    expect(first.status).toBe(200);
    expect((await register(token, {}, 'key of another')).status).toBe(401);
    expect((await register(token)).status).toBe(401);
    const again = await register(token, { address: '127.0.0.1:50052' }, 'key of the host');
    expect(again.status).toBe(200);
    const { jwt: earlier, ...given } = first.body;
    expect(again.body).toMatchObject({ host_id: id, refresh_token: given.refresh_token });
    expect(again.body.control_plane_secret).toBe(given.control_plane_secret);
    for (const jwt of [earlier, again.body.jwt]) expect((await heartbeat(id, jwt)).status).toBe(200);
    await expect.poll(async () => (await readHost(id)).address).toBe('127.0.0.1:50052');

    const renewed = await refresh(again.body.refresh_token);
    expect((await register(token, {}, 'key of the host')).status).toBe(401);
    expect((await heartbeat(id, renewed.body.jwt)).status).toBe(200);
  });

  test('of many that race with one token all with the winner’s key are given the same credentials', async () => {
    const { token } = await addHost();
    const keys = ['a', 'b', 'a', 'b', 'a', 'b'];
    const answers = await Promise.all(keys.map((key) => register(token, {}, key)));
    const winner = keys[answers.findIndex(({ status }) => status === 200)];
    expect(answers.map(({ status }) => status)).toEqual(keys.map((key) => (key === winner ? 200 : 401)));
    const tokens = answers.flatMap(({ status, body }) => (status === 200 ? [body.refresh_token] : []));
    expect(new Set(tokens).size).toBe(1);
  });

  test('a new token puts the earlier one out, also for the host that has used it', async () => {
    const used = await addHost();
    expect((await register(used.token, {}, 'key')).status).toBe(200);
    expect((await call(gateway, 'POST', `/v1/hosts/${used.id}/token`, { token: admin.token })).status).toBe(201);
    expect((await register(used.token, {}, 'key')).status).toBe(401);
  });

  test('a new token puts the earlier one out', async () => {
    const { id, token } = await addHost();
    const next = await call(gateway, 'POST', `/v1/hosts/${id}/token`, { token: admin.token });
    expect(next.status).toBe(201);
    expect((await register(token)).status).toBe(401);
    expect((await register(next.body.registration_token)).status).toBe(200);
  });

  test('registering again makes all earlier credentials worthless', async () => {
    const { id, credentials } = await registeredHost();
    const { body } = await call(gateway, 'POST', `/v1/hosts/${id}/token`, { token: admin.token });
    const again = await register(body.registration_token);
    expect(again.status).toBe(200);
    expect((await heartbeat(id, credentials.jwt)).status).toBe(401);
    expect((await refresh(credentials.refresh_token)).status).toBe(401);
    expect((await heartbeat(id, again.body.jwt)).status).toBe(200);
    expect((await refresh(again.body.refresh_token)).status).toBe(200);
  });

  test('the token is not stored in the clear', async () => {
    const { token } = await addHost();
    const keys = await gateway.services.redis.keys('*');
    expect(keys.join(' ')).not.toContain(token);
  });

  test.each([
    [{ address: 'example.com:1' }, 'address'],
    [{ address: '127.0.0.1' }, 'address'],
    [{ address: '127.0.0.1:70000' }, 'address'],
    [{ address: '999.0.0.1:1' }, 'address'],
    [{ specs: { ...specs, vcpus: 0 } }, 'specs.vcpus'],
    [{ specs: { ...specs, gpu: 1 } }, 'specs.gpu'],
    [{ token: 'short' }, 'token'],
  ])('a bad registration is 400 and uses up nothing: %j', async (overrides, field) => {
    const { token } = await addHost();
    const answer = await register(token, overrides);
    expect(answer.status).toBe(400);
    expect(answer.body.error.details.fields[0].field).toBe(field);
    expect((await register(token)).status).toBe(200);
  });

  test('an IPv6 address is an address', async () => {
    const { id, token } = await addHost();
    expect((await register(token, { address: '[::1]:50051' })).status).toBe(200);
    await expect.poll(async () => (await readHost(id)).address).toBe('[::1]:50051');
  });
});

describe('H2: credentials', () => {
  test('a refresh gives the same shape; the old token is no longer good, and showing it again ends the family', async () => {
    const { id, credentials } = await registeredHost();
    const next = await refresh(credentials.refresh_token);
    expect(next.status).toBe(200);
    expect(Object.keys(next.body).sort()).toEqual(Object.keys(credentials).sort());
    expect(next.body.refresh_token).not.toBe(credentials.refresh_token);
    expect((await heartbeat(id, next.body.jwt)).status).toBe(200);
    // somebody shows the old one: of its two holders one is a thief, and we cannot know which
    const reused = await refresh(credentials.refresh_token);
    expect(reused.status).toBe(401);
    expect(reused.body.error.code).toBe('invalid_token');
    expect((await refresh(next.body.refresh_token)).status).toBe(401);
    expect((await heartbeat(id, next.body.jwt)).status).toBe(401);
    const { rows } = await gateway.services.sql.query(
      `select status from audit_logs where resource_id = $1 and action = 'host.credentials_reused'`,
      [id],
    );
    expect(rows).toEqual([{ status: 'warning' }]);
  });

  test('a renewal whose answer was lost can be asked again with its idempotency key', async () => {
    const { credentials } = await registeredHost();
    const first = await refresh(credentials.refresh_token, 'renewal-1');
    const again = await refresh(credentials.refresh_token, 'renewal-1');
    expect(again.status).toBe(200);
    expect(again.body.refresh_token).toBe(first.body.refresh_token);
    expect((await refresh(again.body.refresh_token, 'renewal-2')).status).toBe(200);
    // after its successor was used the old one is reuse, key or not
    expect((await refresh(credentials.refresh_token, 'renewal-1')).status).toBe(401);
  });

  test('two that race with one refresh token do not both get one', async () => {
    const { credentials } = await registeredHost();
    const answers = await Promise.all([refresh(credentials.refresh_token), refresh(credentials.refresh_token)]);
    expect(answers.map(({ status }) => status).sort()).toEqual([200, 401]);
  });

  test('stored hashed; invalid and expired ones are 401', async () => {
    const { id, credentials } = await registeredHost();
    const { rows } = await gateway.services.sql.query('select * from host_refresh_tokens where host_id = $1', [id]);
    expect(JSON.stringify(rows)).not.toContain(credentials.refresh_token);
    expect((await refresh('f'.repeat(64))).status).toBe(401);
    expect((await refresh('')).status).toBe(401);
    await gateway.services.sql.query(`update host_refresh_tokens set expires_at = now() where host_id = $1`, [id]);
    expect((await refresh(credentials.refresh_token)).status).toBe(401);
  });

  test('a host token of seven days is good for its own heartbeat only', async () => {
    const { id, credentials } = await registeredHost();
    const other = await registeredHost();
    const { exp, iat } = JSON.parse(Buffer.from(credentials.jwt.split('.')[1] ?? '', 'base64url').toString());
    expect(Math.abs(exp - iat - 7 * 86_400)).toBeLessThanOrEqual(1);
    expect((await heartbeat(other.id, credentials.jwt)).status).toBe(404);
    expect((await heartbeat(id, admin.token)).status).toBe(401);
    expect((await call(gateway, 'GET', '/v1/me', { token: credentials.jwt })).status).toBe(401);
    expect((await call(gateway, 'GET', '/v1/hosts', { token: credentials.jwt })).status).toBe(401);
  });
});

describe('API8: who may do what', () => {
  test('platform hosts are for platform admins only', async () => {
    const person = await signUp(gateway);
    const { id } = await addHost();
    const asPerson = (method: string, path: string, body?: object) =>
      call(gateway, method, path, { token: person.token, ...(body && { body }) });
    expect((await asPerson('POST', '/v1/hosts', { name: 'mine' })).status).toBe(403);
    expect((await asPerson('GET', `/v1/hosts/${id}`)).status).toBe(404);
    expect((await asPerson('POST', `/v1/hosts/${id}/token`)).status).toBe(404);
    expect((await asPerson('DELETE', `/v1/hosts/${id}?force=true`)).status).toBe(404);
    expect((await asPerson('GET', '/v1/hosts')).body.items).toEqual([]);
    expect((await asPerson('GET', '/v1/hosts/%00')).status).toBe(400);
    expect((await asPerson('GET', '/v1/hosts/bad')).status).toBe(400);
  });

  test('a BYOC team has hosts of its own, seen by nobody else', async () => {
    const [owner, other] = await Promise.all([signUp(gateway), signUp(gateway)]);
    const add = () => call(gateway, 'POST', '/v1/hosts', { token: owner.token, body: { name: 'own', byoc: true } });
    expect((await add()).status).toBe(403);
    await gateway.services.sql.query('update teams set is_byoc = true where id = $1', [owner.teamId]);
    const { body } = await add();
    expect(body.host).toMatchObject({ byoc: true, status: 'pending' });
    const path = `/v1/hosts/${body.host.id}`;
    expect((await call(gateway, 'GET', path, { token: owner.token })).status).toBe(200);
    expect((await call(gateway, 'GET', path, { token: other.token })).status).toBe(404);
    await gateway.services.sql.query(`update team_members set role = 'member' where team_id = $1 and user_id = $2`, [
      owner.teamId,
      owner.userId,
    ]);
    expect((await call(gateway, 'GET', path, { token: owner.token })).status).toBe(200);
    expect((await call(gateway, 'DELETE', path, { token: owner.token })).status).toBe(403);
  });

  test('drain, undrain, tags, and commands that are illegal now', async () => {
    const { id } = await registeredHost();
    await expect.poll(async () => (await readHost(id)).status).toBe('online');
    const command = (name: string) => call(gateway, 'POST', `/v1/hosts/${id}/${name}`, { token: admin.token });
    expect((await command('drain')).body.status).toBe('draining');
    const twice = await command('drain');
    expect(twice.status).toBe(409);
    expect(twice.body.error).toMatchObject({
      code: 'illegal_command',
      message: 'It is being drained already. Undrain it to let it take new work again.',
    });
    expect((await command('undrain')).body.status).toBe('online');
    const tagged = await call(gateway, 'PUT', `/v1/hosts/${id}/tags`, { token: admin.token, body: { tags: ['ssd'] } });
    expect(tagged.body.tags).toEqual(['ssd']);
  });

  test('a deleted host is gone, and so are its credentials', async () => {
    const { id, credentials } = await registeredHost();
    expect((await call(gateway, 'DELETE', `/v1/hosts/${id}`, { token: admin.token })).status).toBe(204);
    expect((await call(gateway, 'GET', `/v1/hosts/${id}`, { token: admin.token })).status).toBe(404);
    expect((await heartbeat(id, credentials.jwt)).status).toBe(401);
    expect((await refresh(credentials.refresh_token)).status).toBe(401);
  });

  test('a deleted pending host cannot be registered', async () => {
    const { id, token } = await addHost();
    expect((await call(gateway, 'DELETE', `/v1/hosts/${id}`, { token: admin.token })).status).toBe(204);
    expect((await register(token)).status).toBe(401);
  });
});

test('heartbeats with no news cost no commits', async () => {
  const { id, credentials } = await registeredHost();
  const heard = async () =>
    (
      await gateway.services.sql.query(
        `select count(*)::int as n from actor_events where kind = 'host' and id = $1 and event->>'type' = 'HEARTBEAT'`,
        [id],
      )
    ).rows[0].n;
  for (let i = 0; i < 10; i += 1) await heartbeat(id, credentials.jwt, { cursor: i });
  await heartbeat(id, credentials.jwt, { vms: 1 });
  await expect.poll(heard).toBe(2);
  await expect.poll(async () => (await readHost(id)).vms).toBe(1);
});

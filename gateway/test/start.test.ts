import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtemp, readdir, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import type { TestDatabase } from '../../scripts/dev/test-database.ts';
import { testDatabase, testRedisUrl } from '../../scripts/dev/testing.ts';
import { freePort } from '../../scripts/lib/free-port.ts';
import { call, JWT_SECRET, signUp, startGateway } from './gateway.ts';

const MAIN = join(import.meta.dirname, '../src/main.ts');

let database: TestDatabase;
let redisUrl: string;
const running = new Set<ChildProcess>();
beforeAll(async () => {
  database = await testDatabase();
  redisUrl = await testRedisUrl();
});
afterAll(async () => {
  for (const child of running) child.kill('SIGKILL');
  await database.drop();
});

function start(env: Record<string, string>) {
  const child = spawn(process.execPath, ['--disable-warning=ExperimentalWarning', MAIN], {
    cwd: '/', // no .env there
    env: { PATH: process.env.PATH, WRENN_DATABASE_URL: database.url, WRENN_REDIS_URL: redisUrl, JWT_SECRET, ...env },
    stdio: ['ignore', 'pipe', 'pipe'],
  });
  running.add(child);
  let output = '';
  for (const stream of [child.stdout, child.stderr]) stream.on('data', (data) => (output += data));
  const exited = once(child, 'exit').then(([code]) => {
    running.delete(child);
    return code as number | null;
  });
  return { child, exited, output: () => output };
}

const healthy = (url: string) =>
  fetch(`${url}/health`).then(
    ({ status }) => status,
    () => 0,
  );

describe('wrenn-cp', () => {
  test('migrates, comes into control, says that it talks plain HTTP, stops on SIGTERM', async () => {
    const listen = `127.0.0.1:${await freePort()}`;
    const { child, exited, output } = start({ WRENN_LISTEN: listen, WRENN_WINGS: '2' });
    await expect.poll(() => healthy(`http://${listen}`), { timeout: 15_000, interval: 50 }).toBe(200);
    expect(output()).toContain('unknown setting WRENN_WINGS');
    expect(output()).toContain('PLAIN HTTP');
    expect(output()).not.toContain(JWT_SECRET);
    await signUp({ url: `http://${listen}` });
    child.kill('SIGTERM');
    expect(await exited).toBe(0);
  });

  test('replicas that share a folder for temporary files leave nothing there, also killed with -9', async () => {
    const folder = await mkdtemp(join(tmpdir(), 'wrenn-start-'));
    try {
      const replica = async () => {
        const listen = `127.0.0.1:${await freePort()}`;
        const { child, exited } = start({ WRENN_LISTEN: listen, TMPDIR: folder });
        await expect.poll(() => healthy(`http://${listen}`), { timeout: 15_000, interval: 50 }).toBe(200);
        return { child, exited };
      };
      const replicas = [await replica(), await replica()];
      for (const { child } of replicas) child.kill('SIGKILL');
      for (const { exited } of replicas) await exited;
      expect(await readdir(folder)).toEqual([]);
    } finally {
      await rm(folder, { recursive: true });
    }
  });

  test.each([
    [{ JWT_SECRET: 'too short' }, 'JWT_SECRET'],
    [{ WRENN_LISTEN: 'nowhere' }, 'WRENN_LISTEN'],
    [{ WRENN_DATABASE_URL: 'http://x' }, 'WRENN_DATABASE_URL'],
    [{ WRENN_LOG_LEVEL: 'loud' }, 'WRENN_LOG_LEVEL'],
  ])('a bad setting stops the start with its name and without its value: %j', async (env, name) => {
    const { exited, output } = start(env);
    expect(await exited).toBe(1);
    expect(output()).toContain(name);
    expect(output()).not.toContain(Object.values(env)[0]);
  });

  test('an address in use and a database that is not there end the start with a reason', async () => {
    const gateway = await startGateway();
    const taken = start({ WRENN_LISTEN: `127.0.0.1:${gateway.port}` });
    expect(await taken.exited).toBe(1);
    expect(taken.output()).toContain('is it in use?');
    await gateway.close();
    const nowhere = start({ WRENN_DATABASE_URL: 'postgres://wrenn@127.0.0.1:1/wrenn' });
    expect(await nowhere.exited).toBe(1);
    expect(nowhere.output()).toContain('ECONNREFUSED');
  });
});

test('two replicas share a database: a session, a key and a host are of both', async () => {
  const first = await startGateway();
  const second = start({
    WRENN_LISTEN: `127.0.0.1:${await freePort()}`,
    WRENN_DATABASE_URL: first.services.config.WRENN_DATABASE_URL,
    WRENN_REDIS_URL: first.services.config.WRENN_REDIS_URL,
  });
  const listen = second.child.spawnargs; // for the message below
  try {
    const person = await signUp(first);
    await expect.poll(() => second.output(), { timeout: 15_000, message: String(listen) }).toContain('in control');
    const url = `http://127.0.0.1:${JSON.parse(second.output().trim().split('\n').at(-1) ?? '{}').port}`;
    const added = await call({ url }, 'POST', '/v1/hosts', { token: person.token, body: { name: 'shared' } });
    expect(added.status).toBe(201);
    const token = added.body.registration_token;
    const specs = {
      vcpus: 1,
      memory_mb: 1,
      disk_mb: 1,
      arch: 'x64',
      vmm: 'qemu',
      vmm_version: '',
      agent_version: '1',
      store: 'qcow2',
    };
    const register = (at: { url: string }) =>
      call(at, 'POST', '/v1/hosts/register', { body: { token, address: '127.0.0.1:1', specs } });
    const raced = await Promise.all([register(first), register({ url }), register(first), register({ url })]);
    expect(raced.map(({ status }) => status).sort()).toEqual([200, 401, 401, 401]);
    expect((await call(first, 'POST', '/v1/auth/logout', { token: person.token })).status).toBe(204);
    expect((await call({ url }, 'GET', '/v1/me', { token: person.token })).status).toBe(401);
  } finally {
    second.child.kill('SIGTERM');
    await second.exited;
    await first.close();
  }
});

test('with Redis away people sign in, limits hold, keys and hosts work; only new host tokens cannot be had', async () => {
  const gateway = await startGateway({ redisUrl: 'redis://127.0.0.1:1' });
  try {
    const person = await signUp(gateway);
    const login = (password: string) =>
      call(gateway, 'POST', '/v1/auth/login', { body: { email: person.email, password } });
    expect((await login('long enough')).status).toBe(200);
    const statuses: number[] = [];
    for (let i = 0; i < 11; i += 1) statuses.push((await login('a wrong guess')).status);
    expect(statuses.at(0)).toBe(401);
    expect(statuses.at(-1)).toBe(429);
    const { body } = await call(gateway, 'POST', '/v1/api-keys', { token: person.token, body: { name: 'k' } });
    expect((await call(gateway, 'GET', '/v1/templates', { key: body.key })).status).toBe(200);
    const host = await call(gateway, 'POST', '/v1/hosts', { token: person.token, body: { name: 'h' } });
    expect(host.status).toBe(503);
    expect(host.body.error.code).toBe('unavailable');
  } finally {
    await gateway.close();
  }
});

import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { join } from 'node:path';
import { migrate } from '@wrenn/core';
import { afterAll, beforeAll, describe, expect, test, vi } from 'vitest';
import type { TestDatabase } from '../../scripts/dev/test-database.ts';
import { testDatabase, testRedisUrl } from '../../scripts/dev/testing.ts';
import { freePort } from '../../scripts/lib/free-port.ts';
import { call, JWT_SECRET } from './gateway.ts';
import type { BareAgent } from './testing/bare-agent.ts';
import { startFleet } from './testing/fleet.ts';

const MAIN = join(import.meta.dirname, '../src/main.ts');

/** X3: the control plane is a process that is killed in the middle; another one takes over what it had begun. */
describe('kill -9 of the control plane', { timeout: 60_000 }, () => {
  let database: TestDatabase;
  let redisUrl: string;
  let agent: BareAgent;
  let key: string;
  let closeHost: () => Promise<void>;
  let plane: { child: ChildProcess; url: string };

  beforeAll(async () => {
    database = await testDatabase();
    await migrate(database.url);
    redisUrl = await testRedisUrl();
    const fleet = await startFleet({}, { databaseUrl: database.url });
    ({ agent } = await fleet.addHost({ vcpus: 8, memoryMb: 8_192 }));
    key = await fleet.newKey();
    await fleet.stopGateway();
    closeHost = () => agent.close();
    plane = await start();
  });
  afterAll(async () => {
    plane?.child.kill('SIGKILL');
    await closeHost?.();
    await database?.drop();
  });

  async function start() {
    const listen = `127.0.0.1:${await freePort()}`;
    const child = spawn(process.execPath, ['--disable-warning=ExperimentalWarning', MAIN], {
      cwd: '/', // no .env there
      env: {
        PATH: process.env.PATH,
        WRENN_DATABASE_URL: database.url,
        WRENN_REDIS_URL: redisUrl,
        WRENN_LISTEN: listen,
        JWT_SECRET,
      },
      stdio: 'ignore',
    });
    const url = `http://${listen}`;
    const health = () =>
      fetch(`${url}/health`).then(
        ({ status }) => status,
        () => 0,
      );
    await vi.waitUntil(async () => (await health()) === 200, { timeout: 20_000, interval: 50 });
    return { child, url };
  }
  async function killAndRestart() {
    const exited = once(plane.child, 'exit');
    plane.child.kill('SIGKILL');
    await exited;
    plane = await start();
  }
  const api = (method: string, path: string, body?: unknown, headers = {}) =>
    call(plane, method, `/v1${path}`, { key, headers, ...(body !== undefined && { body }) });
  const create = async (body: unknown = {}) => (await api('POST', '/sandboxes', body)).body.id as string;
  const statusOf = async (id: string) => (await api('GET', `/sandboxes/${id}`)).body.status;
  /** A request whose answer the killed process takes with it. */
  const begin = (method: string, path: string, body?: unknown, headers = {}) => {
    const lost = api(method, path, body, headers).catch(() => undefined);
    return { lost };
  };
  const commanded = (id: string, name: string) => () =>
    agent.commands.some((one) => one.name === name && one.command?.sandboxId === id);
  const waiting = { timeout: 20_000, interval: 50 };

  test('while a sandbox is being paused: it is paused', async () => {
    const id = await create();
    agent.nextSave = 'held';
    const { lost } = begin('POST', `/sandboxes/${id}/pause`);
    await expect.poll(commanded(id, 'pause'), waiting).toBe(true);
    await killAndRestart();
    agent.letGo();
    await lost;
    await expect.poll(() => statusOf(id), waiting).toBe('paused');
    const keys = agent.commands.filter(({ name }) => name === 'pause').map(({ command }) => command?.key);
    expect(new Set(keys).size).toBe(1); // the agent can tell that it is the same command
    await api('DELETE', `/sandboxes/${id}`);
  });

  test('while it is being resumed: it runs, with one incarnation more', async () => {
    const id = await create();
    await api('POST', `/sandboxes/${id}/pause`);
    agent.nextStart = 'never';
    const { lost } = begin('POST', `/sandboxes/${id}/resume`);
    await expect.poll(commanded(id, 'resume'), waiting).toBe(true);
    // What the agent was told stands; it answers the next one who asks.
    agent.vms.set(id, agent.paused.get(id) as never);
    await killAndRestart();
    await lost;
    await expect.poll(() => statusOf(id), waiting).toBe('running');
    expect(agent.vms.get(id)?.incarnation).toBe(2);
    await api('DELETE', `/sandboxes/${id}`);
  });

  test('while it is being forked: the children run, and the snapshot is deleted', async () => {
    const id = await create({ labels: { family: 'one' } });
    agent.nextSave = 'held';
    const { lost } = begin('POST', `/sandboxes/${id}/fork`, { count: 2 });
    await expect.poll(commanded(id, 'fork into 2'), waiting).toBe(true);
    await killAndRestart();
    agent.letGo();
    await lost;
    const family = async () => (await api('GET', '/sandboxes?label=family=one')).body.items;
    await expect
      .poll(async () => (await family()).map(({ status }: { status: string }) => status), waiting)
      .toEqual(['running', 'running', 'running']);
    await expect.poll(() => agent.snapshots.size, waiting).toBe(0);
    for (const one of await family()) await api('DELETE', `/sandboxes/${one.id}`);
  });

  test('while a snapshot is being made: it is a template, and asking again gets it; while it is being deleted: its files go', async () => {
    const id = await create();
    agent.nextSave = 'held';
    const asked = ['POST', '/snapshots', { sandbox_id: id, name: 'survivor' }, { 'idempotency-key': 'one' }] as const;
    const { lost } = begin(...asked);
    await expect.poll(commanded(id, 'snapshot'), waiting).toBe(true);
    await killAndRestart();
    const again = api(...asked);
    agent.letGo();
    await lost;
    const { status, body } = await again;
    expect([status, body.name]).toEqual([201, 'survivor']);
    const names = async () =>
      (await api('GET', '/snapshots?type=snapshot')).body.items.map(({ name }: { name: string }) => name);
    await expect.poll(names, waiting).toEqual(['survivor']);
    expect((await api('GET', `/sandboxes/${id}`)).body).toMatchObject({ status: 'running', operation: 'none' });

    agent.away = true;
    expect((await api('DELETE', '/snapshots/survivor')).status).toBe(204);
    await killAndRestart();
    expect(await names()).toEqual([]);
    expect(agent.snapshots.size).toBe(1);
    agent.away = false;
    await expect.poll(() => agent.snapshots.size, waiting).toBe(0);
    await api('DELETE', `/sandboxes/${id}`);
  });

  test('timers go on: an idle sandbox is paused, an end comes (SN7, SN15)', async () => {
    const idle = await create({ timeout_sec: 5 });
    const ends = await create({ ends_at: new Date(Date.now() + 5_000).toISOString() });
    await killAndRestart();
    await expect.poll(() => statusOf(idle), waiting).toBe('paused');
    await expect.poll(() => statusOf(ends), waiting).toBe('stopped');
    await api('DELETE', `/sandboxes/${idle}`);
  });
});

import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { ensureDatabase, startPostgres } from '../../scripts/dev/postgres.ts';
import { call, signUp, startGateway } from './gateway.ts';

test('while PostgreSQL restarts requests are 503; afterwards all goes on, commands too', async () => {
  const dir = mkdtempSync(join(tmpdir(), 'wrenn-postgres-away-'));
  let postgres = await startPostgres({ dir, fsync: false, tied: true });
  await ensureDatabase(postgres, 'wrenn');
  const gateway = await startGateway({ databaseUrl: postgres.url('wrenn') });
  try {
    const person = await signUp(gateway);
    const me = () => call(gateway, 'GET', '/v1/me', { token: person.token });
    await postgres.stop();
    const away = await me();
    expect(away.status).toBe(503);
    expect(away.body.error.code).toBe('unavailable');
    const login = await call(gateway, 'POST', '/v1/auth/login', {
      body: { email: person.email, password: 'long enough' },
    });
    expect(login.status).toBe(503);
    const { port } = postgres;
    postgres = await startPostgres({ dir, port, fsync: false, tied: true });
    await expect.poll(async () => (await me()).status, { timeout: 10_000 }).toBe(200);
    const addHost = () => call(gateway, 'POST', '/v1/hosts', { token: person.token, body: { name: 'after' } });
    await expect.poll(async () => (await addHost()).status, { timeout: 15_000, interval: 500 }).toBe(201);
  } finally {
    await gateway.close();
    await postgres.stop();
    rmSync(dir, { recursive: true, force: true });
  }
}, 60_000);

import { createLogger, migrate, migrationsKey, silentLog } from '@wrenn/core';
import { testDatabase, testRedisUrl } from '../../scripts/dev/testing.ts';
import { AgentDirectory } from '../src/agents/agent-directory.ts';
import { createApp } from '../src/app.ts';
import { KeyUsage } from '../src/identity/key-usage.ts';
import { LoginLimits } from '../src/identity/login-limits.ts';
import { Tokens } from '../src/identity/tokens.ts';
import { createRedis } from '../src/redis-client.ts';
import { SandboxRoutes } from '../src/sandboxes/sandbox-routes.ts';
import type { Services } from '../src/services.ts';
import { createSqlPool } from '../src/sql-pool.ts';

export const JWT_SECRET = 'a secret of tests, longer than thirty-two';

export interface TestGateway {
  readonly url: string;
  readonly port: number;
  readonly services: Services;
  close(): Promise<void>;
}

/** A control plane's HTTP side on a database and a Redis of its own. */
export async function startGateway(options: { redisUrl?: string } = {}): Promise<TestGateway> {
  const database = await testDatabase({
    key: migrationsKey(),
    prepare: async (url) => void (await migrate(url)),
  });
  const log = process.env.TEST_LOG ? createLogger({ name: 'test', level: process.env.TEST_LOG }) : silentLog;
  const sql = createSqlPool(database.url, log);
  const redisUrl = options.redisUrl ?? (await testRedisUrl());
  const redis = createRedis(redisUrl, log);
  const agents = new AgentDirectory(sql);
  const services: Services = {
    config: {
      WRENN_LISTEN: '127.0.0.1:0',
      WRENN_DATABASE_URL: database.url,
      WRENN_REDIS_URL: redisUrl,
      JWT_SECRET,
      WRENN_DOMAIN: 'localhost',
      WRENN_LOG_LEVEL: 'silent',
    },
    log,
    sql,
    redis,
    runtime: undefined as never,
    tokens: new Tokens(JWT_SECRET),
    keyUsage: new KeyUsage(sql, log),
    loginLimits: new LoginLimits(redis),
    readiness: { inControl: true },
    agents,
    sandboxRoutes: new SandboxRoutes(sql),
  };
  const app = createApp(services);
  const port = await app.listen('127.0.0.1', 0);
  return {
    url: `http://127.0.0.1:${port}`,
    port,
    services,
    close: async () => {
      await app.stop(1_000);
      await agents.close();
      await services.keyUsage.close();
      redis.disconnect();
      await sql.end();
      await database.drop();
    },
  };
}

/** A JSON request; resolves with status, headers and parsed body. */
export async function call(
  gateway: Pick<TestGateway, 'url'>,
  method: string,
  path: string,
  options: { body?: unknown; headers?: Record<string, string>; token?: string; key?: string } = {},
  // biome-ignore lint/suspicious/noExplicitAny: tests look into answers of all shapes
): Promise<{ status: number; headers: Headers; body: any }> {
  const response = await fetch(gateway.url + path, {
    method,
    headers: {
      ...(options.body === undefined ? {} : { 'content-type': 'application/json' }),
      ...(options.token === undefined ? {} : { authorization: `Bearer ${options.token}` }),
      ...(options.key === undefined ? {} : { 'x-api-key': options.key }),
      ...options.headers,
    },
    ...(options.body === undefined ? {} : { body: JSON.stringify(options.body) }),
  });
  const text = await response.text();
  const json = response.headers.get('content-type')?.startsWith('application/json');
  return { status: response.status, headers: response.headers, body: json ? JSON.parse(text) : text };
}

let people = 0;

/** Signs a new person up. */
export async function signUp(gateway: Pick<TestGateway, 'url'>, name = 'bird') {
  people += 1;
  const email = `${name}${people}.${process.pid}@example.com`;
  const answer = await call(gateway, 'POST', '/v1/auth/signup', { body: { email, password: 'long enough' } });
  if (answer.status !== 201) throw new Error(`signup: ${answer.status} ${JSON.stringify(answer.body)}`);
  return {
    email,
    token: answer.body.token as string,
    userId: answer.body.user.id as string,
    teamId: answer.body.team.id as string,
    isAdmin: answer.body.user.is_admin as boolean,
  };
}

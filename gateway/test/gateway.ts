import { createLogger, migrate, migrationsKey, silentLog } from '@wrenn/core';
import { testDatabase, testRedisUrl } from '../../scripts/dev/testing.ts';
import { configSchema } from '../src/config.ts';
import { startControlPlane } from '../src/control-plane.ts';
import type { Services } from '../src/services.ts';

export const JWT_SECRET = 'a secret of tests, longer than thirty-two';

export interface TestGateway {
  readonly url: string;
  readonly port: number;
  /** 0: it does not speak TLS. */
  readonly tlsPort: number;
  readonly services: Services;
  close(): Promise<void>;
}

/** A whole control plane on a database and a Redis of its own. */
export async function startGateway(
  options: { redisUrl?: string; databaseUrl?: string; settings?: Record<string, string> } = {},
): Promise<TestGateway> {
  const database =
    options.databaseUrl === undefined
      ? await testDatabase({ key: migrationsKey(), prepare: async (url) => void (await migrate(url)) })
      : { url: options.databaseUrl, drop: async () => undefined };
  const log = process.env.TEST_LOG ? createLogger({ name: 'test', level: process.env.TEST_LOG }) : silentLog;
  const config = configSchema.parse({
    WRENN_LISTEN: '127.0.0.1:0',
    WRENN_DATABASE_URL: database.url,
    WRENN_REDIS_URL: options.redisUrl ?? (await testRedisUrl()),
    JWT_SECRET,
    ...options.settings,
  });
  const controlPlane = await startControlPlane(config, log);
  return {
    url: `http://127.0.0.1:${controlPlane.port}`,
    port: controlPlane.port,
    tlsPort: controlPlane.tlsPort ?? 0,
    services: controlPlane.services,
    close: async () => {
      await controlPlane.stop();
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

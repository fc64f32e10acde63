import { randomUUID } from 'node:crypto';
import type { Stack } from './stack.ts';

// biome-ignore lint/suspicious/noExplicitAny: tests look into answers of all shapes
export type Answer = { readonly status: number; readonly headers: Headers; readonly body: any };

export type Api = (method: string, path: string, body?: unknown, headers?: Record<string, string>) => Promise<Answer>;

/** Calls with the first team's key, or as the platform admin. */
export function apiOf(stack: Stack, as: 'key' | 'admin' = 'key'): Api {
  const auth: Record<string, string> =
    as === 'key' ? { 'x-api-key': stack.apiKey } : { authorization: `Bearer ${stack.adminToken}` };
  return (method, path, body, headers) => call(stack.url, method, path, body, { ...auth, ...headers });
}

export async function call(
  url: string,
  method: string,
  path: string,
  body?: unknown,
  headers: Record<string, string> = {},
): Promise<Answer> {
  const json = body === undefined ? {} : { 'content-type': 'application/json' };
  const response = await fetch(url + path, {
    method,
    headers: { ...json, ...headers },
    ...(body !== undefined && { body: typeof body === 'string' ? body : JSON.stringify(body) }),
  });
  const text = await response.text();
  const isJson = response.headers.get('content-type')?.startsWith('application/json');
  return { status: response.status, headers: response.headers, body: isJson ? JSON.parse(text) : text };
}

/** Calls with the key of a team that nobody else is in. */
export async function apiOfNewTeam(stack: Stack): Promise<Api> {
  const email = `${randomUUID()}@example.com`;
  const signup = await call(stack.url, 'POST', '/v1/auth/signup', { email, password: randomUUID() });
  const headers = { authorization: `Bearer ${signup.body.token}` };
  const { body } = await call(stack.url, 'POST', '/v1/api-keys', { name: 'e2e' }, headers);
  return (method, path, given, more) => call(stack.url, method, path, given, { 'x-api-key': body.key, ...more });
}

/** Creates, and throws where that fails. */
export async function createSandbox(api: Api, body: unknown = {}): Promise<string> {
  const answer = await api('POST', '/v1/sandboxes', body);
  if (answer.status !== 201) throw new Error(`create: ${answer.status} ${JSON.stringify(answer.body)}`);
  return answer.body.id;
}

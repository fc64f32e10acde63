import type { components, paths } from '@wrenn/sdk/openapi';
import createClient from 'openapi-fetch';
import { session } from './session.svelte.ts';

export type Sandbox = components['schemas']['Sandbox'];
export type Actor = components['schemas']['Actor'];
/** What has a lifecycle of its own. */
export type ActorKind = paths['/v1/actors/{kind}/{id}']['get']['parameters']['path']['kind'];
export type ActorSummary = components['schemas']['ActorSummary'];
export type JournalEntry = components['schemas']['JournalEntry'];
export type FileEntry = components['schemas']['FileEntry'];
export type ApiKey = components['schemas']['ApiKey'];

/** An answer that is not the one hoped for, with its stable code. */
export class ApiError extends Error {
  override name = 'ApiError';
  readonly status: number;
  readonly code: string;
  readonly details: Readonly<Record<string, unknown>>;

  constructor(status: number, code: string, message: string, details: Readonly<Record<string, unknown>> = {}) {
    super(message);
    this.status = status;
    this.code = code;
    this.details = details;
  }
}

const AGAIN_MS = 200;

/**
 * A request that only reads is made once more when its connection fails: browsers cut all connections when the machine's
 * network changes, which on a host it does with every capsule.
 */
async function fetchTwice(request: Request): Promise<Response> {
  if (request.method !== 'GET') return fetch(request);
  return fetch(request.clone()).catch(async (cause) => {
    if (request.signal.aborted) throw cause;
    await new Promise((resolve) => setTimeout(resolve, AGAIN_MS));
    return fetch(request);
  });
}

/** The API as its OpenAPI document types it, called as whoever is signed in. */
export const api = createClient<paths>({ baseUrl: location.origin, fetch: fetchTwice });

api.use({
  onRequest: ({ request }) => {
    if (session.token) request.headers.set('authorization', `Bearer ${session.token}`);
    return request;
  },
});

/** The data of an answer, or throws `ApiError`; a session that has ended leads to the sign-in page. */
export async function ok<T>(call: Promise<{ data?: T; error?: unknown; response: Response }>): Promise<T> {
  const { data, error, response } = await call.catch((cause) => {
    throw cause instanceof DOMException && cause.name === 'AbortError' ? cause : unreachable();
  });
  if (error === undefined && response.ok) return data as T;
  throw failure(response.status, error);
}

/** For answers that are bytes, and for requests that openapi-fetch cannot send as a stream. */
export async function raw(path: string, init: RequestInit = {}): Promise<Response> {
  const headers = new Headers(init.headers);
  if (session.token) headers.set('authorization', `Bearer ${session.token}`);
  const response = await fetch(path, { ...init, headers }).catch(() => {
    throw unreachable();
  });
  if (response.ok) return response;
  throw failure(response.status, await response.json().catch(() => undefined));
}

function failure(status: number, body: unknown): ApiError {
  if (status === 401 && session.token) session.end({ refused: true });
  const { code, message, details } = (body as { error?: Partial<ApiError> } | undefined)?.error ?? {};
  return new ApiError(status, code ?? 'unknown', message ?? `The server answered with status ${status}.`, details);
}

function unreachable(): ApiError {
  return new ApiError(0, 'unreachable', 'The control plane cannot be reached.');
}

/** A call of the control plane's REST API that failed: its own code and message. */
export class ApiError extends Error {
  override name = 'ApiError';
  readonly status: number;
  readonly code: string;

  constructor(call: string, status: number, code: string, message: string) {
    super(`${call}: ${status} ${code}: ${message}`);
    this.status = status;
    this.code = code;
  }
}

export interface ApiClient {
  /** JSON in, JSON out; undefined for an empty answer. Throws `ApiError`. */
  call<T>(method: string, path: string, body?: unknown): Promise<T>;
}

/** A small client for the development stack's own errands; users have the SDK. */
export function apiClient(url: string, credential: { token: string } | { key: string } | undefined): ApiClient {
  const headers: Record<string, string> = { 'content-type': 'application/json' };
  if (credential && 'token' in credential) headers.authorization = `Bearer ${credential.token}`;
  if (credential && 'key' in credential) headers['x-api-key'] = credential.key;
  return {
    async call<T>(method: string, path: string, body?: unknown): Promise<T> {
      const answer = await fetch(`${url}${path}`, {
        method,
        headers,
        ...(body === undefined ? {} : { body: JSON.stringify(body) }),
      });
      const text = await answer.text();
      const value: unknown = text === '' ? undefined : JSON.parse(text);
      if (answer.ok) return value as T;
      const { error } = (value ?? {}) as { error?: { code: string; message: string } };
      throw new ApiError(`${method} ${path}`, answer.status, error?.code ?? 'unknown', error?.message ?? text);
    },
  };
}

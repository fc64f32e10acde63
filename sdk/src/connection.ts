import { ConnectionError, errorOf } from './errors.ts';

/** Where the API is and who asks. In Node both default to the environment: `WRENN_API_URL`, `WRENN_API_KEY`. */
export interface ConnectionOptions {
  /** Base address, e.g. `http://127.0.0.1:8080`. */
  readonly apiUrl?: string;
  readonly apiKey?: string;
}

export interface RequestOptions {
  readonly query?: Readonly<Record<string, string | number | boolean | undefined>>;
  /** Sent as JSON. */
  readonly json?: unknown;
  /** Sent as it is; a stream is never buffered whole. */
  readonly body?: NonNullable<RequestInit['body']>;
  readonly headers?: Readonly<Record<string, string>>;
  readonly signal?: AbortSignal | undefined;
}

/** Subprotocols of the API's WebSockets; the second one carries the key, since a browser can set no header there. */
const SUBPROTOCOL = 'wrenn.v1';
const AUTH_SUBPROTOCOL = 'wrenn.auth.';

const environment = (name: string): string | undefined => globalThis.process?.env[name];

/** One account on one Wrenn. Holds no socket of its own. */
export class Connection {
  readonly apiUrl: string;
  readonly #apiKey: string;

  constructor(options: ConnectionOptions = {}) {
    const apiUrl = options.apiUrl ?? environment('WRENN_API_URL');
    const apiKey = options.apiKey ?? environment('WRENN_API_KEY');
    if (!apiUrl) throw new TypeError('No address: give `apiUrl` or set WRENN_API_URL.');
    if (!apiKey) throw new TypeError('No key: give `apiKey` or set WRENN_API_KEY.');
    this.apiUrl = apiUrl.replace(/\/+$/, '');
    this.#apiKey = apiKey;
  }

  /** Sends a request and returns the answer's JSON (undefined for none). Throws the typed error of an error answer. */
  async json<T>(method: string, path: string, options: RequestOptions = {}): Promise<T> {
    const response = await this.response(method, path, options);
    const text = await response.text();
    return (text === '' ? undefined : JSON.parse(text)) as T;
  }

  /** Sends a request and returns the successful answer with its body unread. */
  async response(method: string, path: string, options: RequestOptions = {}): Promise<Response> {
    const url = new URL(this.apiUrl + path);
    for (const [name, value] of Object.entries(options.query ?? {})) {
      if (value !== undefined) url.searchParams.set(name, String(value));
    }
    const streams = options.body instanceof ReadableStream;
    const body = options.json === undefined ? options.body : JSON.stringify(options.json);
    const init: RequestInit & { duplex?: 'half' } = {
      method,
      headers: {
        'x-api-key': this.#apiKey,
        ...(options.json !== undefined && { 'content-type': 'application/json' }),
        ...options.headers,
      },
      ...(body !== undefined && { body }),
      ...(streams && { duplex: 'half' as const }),
      ...(options.signal && { signal: options.signal }),
    };
    let response: Response;
    try {
      response = await fetch(url, init);
    } catch (cause) {
      options.signal?.throwIfAborted();
      throw new ConnectionError('unreachable', `No answer from ${url.origin}.`, 0, undefined, { cause });
    }
    if (response.ok) return response;
    throw errorOf(response.status, await response.json().catch(() => undefined));
  }

  /** Opens one of the API's WebSockets. */
  socket(path: string): WebSocket {
    return new WebSocket(this.apiUrl.replace(/^http/, 'ws') + path, [SUBPROTOCOL, AUTH_SUBPROTOCOL + this.#apiKey]);
  }
}

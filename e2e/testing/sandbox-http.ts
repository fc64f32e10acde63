import { once } from 'node:events';
import { type ClientRequest, type IncomingMessage, request } from 'node:http';
import type { Stack } from './stack.ts';

/** Host name of a port of a sandbox, as a client writes it (PX1). */
export function portHost(stack: Stack, sandboxId: string, port: number): string {
  return `${port}-${sandboxId}.${stack.settings.domain}`;
}

export interface RequestOptions {
  readonly method?: string;
  readonly path?: string;
  readonly headers?: Readonly<Record<string, string>>;
}

/** A request to a host name that this machine's resolver need not know. */
export function openRequest(stack: Stack, host: string, options: RequestOptions = {}): ClientRequest {
  const { port } = new URL(stack.url);
  const { method = 'GET', path = '/', headers = {} } = options;
  return request({ host: '127.0.0.1', port, method, path, headers: { host, ...headers }, agent: false });
}

export interface TextAnswer {
  readonly status: number;
  readonly headers: IncomingMessage['headers'];
  readonly text: string;
}

export async function fetchText(
  stack: Stack,
  host: string,
  options: RequestOptions = {},
  body?: string,
): Promise<TextAnswer> {
  const sent = openRequest(stack, host, options);
  sent.end(body);
  const [response] = (await once(sent, 'response')) as [IncomingMessage];
  let text = '';
  for await (const chunk of response) text += chunk;
  return { status: response.statusCode ?? 0, headers: response.headers, text };
}

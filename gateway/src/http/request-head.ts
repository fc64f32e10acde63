import type { HttpRequest, HttpResponse } from 'uWebSockets.js';
import { randomUUID } from 'node:crypto';

/** Copy of all that the library lets us see of a request only until the first await. */
export interface RequestHead {
  readonly method: string;
  readonly path: string;
  /** Raw, without the question mark. */
  readonly query: string;
  /** Raw values of the route's parameters, in order. */
  readonly params: readonly string[];
  readonly headers: ReadonlyMap<string, string>;
  /** Names of headers that came more than once. */
  readonly repeated: ReadonlySet<string>;
  readonly requestId: string;
  readonly remoteAddress: string;
}

/** A caller's own id is kept when it is harmless in a log line and a header. */
const REQUEST_ID = /^[A-Za-z0-9._-]{1,64}$/;

export function readHead(res: HttpResponse, req: HttpRequest, paramCount: number): RequestHead {
  const headers = new Map<string, string>();
  const repeated = new Set<string>();
  req.forEach((name, value) => {
    const earlier = headers.get(name);
    if (earlier !== undefined) repeated.add(name);
    headers.set(name, earlier === undefined ? value : `${earlier}, ${value}`);
  });
  const given = headers.get('x-request-id');
  return {
    method: req.getMethod().toUpperCase(),
    path: req.getUrl(),
    query: (req.getQuery() as string | undefined) ?? '', // undefined without a question mark, whatever its type says
    params: Array.from({ length: paramCount }, (_, index) => req.getParameter(index) ?? ''),
    headers,
    repeated,
    requestId: given !== undefined && REQUEST_ID.test(given) ? given : randomUUID(),
    remoteAddress: remoteAddress(res),
  };
}

/** The door says whose connection it is; without a door it is the library's to know. */
function remoteAddress(res: HttpResponse): string {
  const told = res.getProxiedRemoteAddressAsText();
  return Buffer.from(told.byteLength > 0 ? told : res.getRemoteAddressAsText()).toString('latin1');
}

import type { HttpRequest } from 'uWebSockets.js';

/** What a proxied request says, copied before the library takes it back. */
export interface ProxiedHead {
  /** As the client wrote it. */
  readonly method: string;
  /** Path and query, as they came. */
  readonly target: string;
  readonly host: string;
  /** Name, value, name, value…: what is passed on. */
  readonly fields: string[];
  readonly credentials: Credentials;
  /** Bytes, `chunked`, or null: no body. */
  readonly body: number | 'chunked' | null;
  /** The protocol that the client wants to change to, in lower case. */
  readonly upgrade: string | null;
  readonly accept: string;
  readonly forwardedFor: string | null;
  readonly forwardedProto: string | null;
  readonly forwardedHost: string | null;
  readonly cookie: string | null;
  /** Why the request is refused with 400, whatever it is for. */
  readonly fault: string | null;
}

/** What may open a port (PX1). None of it is passed on to a guest. */
export interface Credentials {
  readonly apiKey: string | null;
  readonly trafficToken: string | null;
}

/** Fields that end at a hop (RFC 9110, 7.6.1), and those that we write ourselves. */
const OWN = new Set([
  'connection',
  'keep-alive',
  'proxy-connection',
  'proxy-authenticate',
  'proxy-authorization',
  'te',
  'trailer',
  'transfer-encoding',
  'content-length',
  'upgrade',
  'expect',
  'host',
  'cookie',
  'x-forwarded-for',
  'x-forwarded-proto',
  'x-forwarded-host',
]);
/** Ours alone: between control plane and agent, or a credential. */
const OWN_PREFIX = 'wrenn-';
const E2B_TRAFFIC_TOKEN = 'e2b-traffic-access-token';
export const TRAFFIC_TOKEN = 'wrenn-traffic-token';
/** A key of ours: a guest's own program may use the same header for keys of its own. */
const OUR_KEY = /^(?:wrn|e2b)_[0-9a-f]{32}$/;

/** Sent twice, each could be read differently by a proxy before or behind us. */
const SINGLE = new Set(['host', 'content-length', 'transfer-encoding']);

export function readProxied(req: HttpRequest): ProxiedHead {
  const fields: string[] = [];
  const own = new Map<string, string>();
  let apiKey: string | null = null;
  let trafficToken: string | null = null;
  let fault: string | null = null;
  req.forEach((name, value) => {
    if (OWN.has(name)) {
      const before = own.get(name);
      if (before !== undefined && SINGLE.has(name)) fault = `The header ${name} came more than once.`;
      own.set(name, before === undefined ? value : `${before}${name === 'cookie' ? '; ' : ', '}${value}`);
    } else if (name === E2B_TRAFFIC_TOKEN || name === TRAFFIC_TOKEN) {
      trafficToken = value;
    } else if (name === 'x-api-key' && OUR_KEY.test(value)) {
      apiKey = value;
    } else if (!name.startsWith(OWN_PREFIX)) {
      fields.push(name, value);
    }
  });
  const query = req.getQuery() as string | undefined;
  const path = req.getUrl();
  const body = bodyOf(own.get('content-length'), own.get('transfer-encoding'));
  if (typeof body === 'string' && body !== 'chunked') fault ??= body;
  if (!path.startsWith('/')) fault ??= 'The path must begin with a slash.';
  const options = connectionOptions(own.get('connection'));
  return {
    method: req.getCaseSensitiveMethod(),
    target: query === undefined ? path : `${path}?${query}`,
    host: own.get('host') ?? '',
    fields: options.length > 0 ? without(fields, options) : fields,
    credentials: { apiKey, trafficToken },
    body: body as ProxiedHead['body'],
    upgrade: options.includes('upgrade') ? (own.get('upgrade')?.toLowerCase() ?? null) : null,
    accept: req.getHeader('accept'),
    forwardedFor: own.get('x-forwarded-for') ?? null,
    forwardedProto: own.get('x-forwarded-proto') ?? null,
    forwardedHost: own.get('x-forwarded-host') ?? null,
    cookie: own.get('cookie') ?? null,
    fault,
  };
}

/** The framing of a body; a text other than `chunked` is what is wrong with it. */
function bodyOf(length: string | undefined, coding: string | undefined): number | string | null {
  if (coding !== undefined) {
    if (length !== undefined) return 'Send Content-Length or Transfer-Encoding, not both.';
    return coding.toLowerCase() === 'chunked' ? 'chunked' : 'The only transfer coding that is taken is chunked.';
  }
  if (length === undefined) return null;
  return /^\d{1,15}$/.test(length) ? Number(length) : 'Content-Length must be a number.';
}

function connectionOptions(header: string | undefined): string[] {
  if (header === undefined || header.toLowerCase() === 'keep-alive') return [];
  return header.split(',').map((option) => option.trim().toLowerCase());
}

function without(fields: readonly string[], names: readonly string[]): string[] {
  const kept: string[] = [];
  for (let at = 0; at < fields.length; at += 2) {
    if (!names.includes(fields[at] as string)) kept.push(fields[at] as string, fields[at + 1] as string);
  }
  return kept;
}

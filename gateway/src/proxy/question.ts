import type { HttpRequest } from 'uWebSockets.js';

/** Why the door asks. */
export type Reason =
  | { readonly kind: 'first' }
  /** As many requests and sockets are open to the sandbox as may be. */
  | { readonly kind: 'full' }
  /** The client wants to change to a protocol that is not carried. */
  | { readonly kind: 'upgrade'; readonly protocol: string }
  /** The agent refused what it was sent last; `repeatable`: it may be sent to another place. */
  | {
      readonly kind: 'refused';
      readonly code: string;
      readonly incarnation: number;
      readonly repeatable: boolean;
    }
  /** The agent was not reached, or went before it had answered. */
  | { readonly kind: 'failed'; readonly failure: 'connect' | 'broken' };

/** What the door asks about a request for a sandbox, copied before the library takes it back. */
export interface Question {
  readonly reason: Reason;
  /** The client came by TLS, here or in front of us. */
  readonly secure: boolean;
  /** Path and query, as they came. */
  readonly target: string;
  readonly credentials: Credentials;
  readonly cookie: string;
  readonly accept: string;
}

/** What may open a port (PX1). None of it is passed on to a guest. */
export interface Credentials {
  readonly apiKey: string | null;
  readonly trafficToken: string | null;
}

/** `<token> <1: over TLS> <reason…>`; written by the door, which lets no client send it. */
const HEADER = 'wrenn-ask';
/** A key of ours: a guest's own program may use the same header for keys of its own. */
const OUR_KEY = /^(?:wrn|e2b)_[0-9a-f]{32}$/;

/** Null: the door has not asked this. */
export function readQuestion(req: HttpRequest, token: string): Question | null {
  const [given, tls, kind, ...details] = req.getHeader(HEADER).split(' ');
  const reason = given === token ? reasonOf(kind, details) : null;
  if (reason === null) return null;
  const cookies: string[] = [];
  req.forEach((name, value) => {
    if (name === 'cookie') cookies.push(value);
  });
  const query = req.getQuery() as string | undefined;
  const apiKey = req.getHeader('x-api-key');
  const trafficToken = req.getHeader('wrenn-traffic-token') || req.getHeader('e2b-traffic-access-token');
  return {
    reason,
    secure: tls === '1' || req.getHeader('x-forwarded-proto') === 'https',
    target: query === undefined ? req.getUrl() : `${req.getUrl()}?${query}`,
    credentials: {
      apiKey: OUR_KEY.test(apiKey) ? apiKey : null,
      trafficToken: trafficToken === '' ? null : trafficToken,
    },
    cookie: cookies.join('; '),
    accept: req.getHeader('accept'),
  };
}

function reasonOf(kind: string | undefined, details: readonly string[]): Reason | null {
  switch (kind) {
    case 'first':
    case 'full':
      return { kind };
    case 'upgrade':
      return { kind, protocol: details.join(' ').toLowerCase() };
    case 'refused': {
      const [code = '', incarnation, repeatable] = details;
      return { kind, code, incarnation: Number(incarnation), repeatable: repeatable === '1' };
    }
    case 'failed':
      return { kind, failure: details[0] === 'connect' ? 'connect' : 'broken' };
    default:
      return null;
  }
}

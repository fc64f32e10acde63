import type { Services } from '../services.ts';
import type { Auth, AuthKind } from './auth.ts';
import { paramNames } from './path-template.ts';
import { badRequest } from './problems.ts';
import type { RequestHead } from './request-head.ts';
import type { Route, SocketRoute } from './route.ts';
import { parseParams, parseQuery, validate } from './validate.ts';

/** Decides who calls; throws 401 or 403. Null only where the route takes `-` and nothing was sent. */
export type Authorise = (
  headers: ReadonlyMap<string, string>,
  kinds: readonly AuthKind[],
  services: Services,
) => Promise<Auth | null>;

/** Sent twice, each of these could be read differently by a proxy in front and by us. */
const SINGLE_HEADERS = ['host', 'authorization', 'x-api-key', 'content-length', 'content-type', 'transfer-encoding'];

/** What REST and WebSocket routes have in common: who calls, and with which parameters. Authentication comes first. */
export async function prepare(
  route: Route | SocketRoute,
  head: RequestHead,
  authorise: Authorise,
  services: Services,
): Promise<{ auth: Auth | null; params: unknown; query: unknown }> {
  for (const name of SINGLE_HEADERS) {
    if (head.repeated.has(name)) throw badRequest(`The header ${name} came more than once.`);
  }
  const auth = await authorise(head.headers, route.auth, services);
  const names = paramNames(route.path);
  const params = parseParams(names, head.params);
  const query = parseQuery(head.query);
  return {
    auth,
    params: route.params ? validate(route.params, params, 'path') : params,
    query: route.query ? validate(route.query, query, 'query') : {},
  };
}

import type { Services } from '../services.ts';
import { errorReply } from './error-reply.ts';
import type { Exchange } from './exchange.ts';
import { mediaType, readJson } from './json-body.ts';
import { type Authorise, prepare } from './prepare.ts';
import { badRequest, payloadTooLarge, unsupportedMediaType } from './problems.ts';
import type { RawBodySpec, Reply, Route } from './route.ts';
import { validate } from './validate.ts';

/** Runs one REST request from its head to its last byte. Never throws. */
export async function serve(route: Route, exchange: Exchange, authorise: Authorise, services: Services): Promise<void> {
  const log = services.log.child({ requestId: exchange.head.requestId, route: `${route.method} ${route.path}` });
  try {
    const reply = await handle(route, exchange, authorise, services);
    await answer(exchange, reply);
  } catch (error) {
    if (exchange.response.over) return; // nobody is left to be told
    if (exchange.response.started) {
      log.warn({ err: error }, 'answer broken off');
      exchange.response.destroy();
    } else {
      await answer(exchange, (route.errors ?? errorReply)(error, log));
    }
  } finally {
    exchange.body.discard();
  }
}

async function handle(route: Route, exchange: Exchange, authorise: Authorise, services: Services): Promise<Reply> {
  const { head, body, signal } = exchange;
  const { auth, params, query } = await prepare(route, head, authorise, services);
  if (route.rawBody) checkRaw(route.rawBody, head.headers);
  return await route.handler(
    {
      params,
      query,
      body: route.body ? await readBody(route, exchange) : await readNothing(route, exchange),
      stream: route.rawBody ? body.read(route.rawBody.maxBytes) : empty(),
      auth,
      signal,
      headers: head.headers,
      requestId: head.requestId,
      remoteAddress: head.remoteAddress,
    },
    services,
  );
}

async function answer(exchange: Exchange, reply: Reply): Promise<void> {
  // What is unread may be more than the client should send: it is thrown away as it comes, the client can stop.
  if (!('stream' in reply)) exchange.body.discard();
  await exchange.response.send(reply);
}

async function readBody(route: Route, exchange: Exchange): Promise<unknown> {
  const value = await readJson(exchange.body, exchange.head.headers);
  if (value === undefined && !route.bodyOptional) {
    throw badRequest('The request needs a JSON body.');
  }
  return validate(route.body as NonNullable<typeof route.body>, value ?? {}, 'body');
}

/** A body where none belongs is a client's mistake; an empty object is common and means none. */
async function readNothing(route: Route, exchange: Exchange): Promise<undefined> {
  if (route.rawBody || route.method === 'GET' || exchange.body.complete) {
    if (exchange.body.received === 0 || route.rawBody || route.method === 'GET') return undefined;
  }
  const value = await readJson(exchange.body, exchange.head.headers);
  const names = value !== null && typeof value === 'object' ? Object.keys(value) : [];
  if (
    value !== undefined &&
    (names.length > 0 || Array.isArray(value) || value === null || typeof value !== 'object')
  ) {
    throw badRequest(`This request takes no body${names.length > 0 ? ` (${names.join(', ')})` : ''}.`);
  }
  return undefined;
}

function checkRaw(spec: RawBodySpec, headers: ReadonlyMap<string, string>): void {
  const type = mediaType(headers.get('content-type'));
  if (!spec.contentTypes.includes('*') && !spec.contentTypes.includes(type)) {
    throw unsupportedMediaType(spec.contentTypes);
  }
  const declared = Number(headers.get('content-length') ?? 0);
  if (spec.maxBytes !== null && declared > spec.maxBytes) throw payloadTooLarge(spec.maxBytes);
}

async function* empty(): AsyncGenerator<Buffer> {}

import type { HttpResponse, us_socket_context_t, WebSocketBehavior } from 'uWebSockets.js';
import type { Services } from '../services.ts';
import { errorReply } from './error-reply.ts';
import { Exchange } from './exchange.ts';
import { paramNames } from './path-template.ts';
import { type Authorise, prepare } from './prepare.ts';
import type { SocketRoute } from './route.ts';
import type { Socket } from './socket.ts';
import { WebSocketSession } from './web-socket.ts';

/** One frame; longer input (stdin) comes in several. */
const MAX_MESSAGE_BYTES = 4_194_304;
/** Hard stop: handlers wait at a small part of it (`HIGH_WATER_BYTES`). */
const MAX_BACKPRESSURE_BYTES = 16_777_216;
/** Pings go out by themselves; a peer that answers none for so long is gone. */
const IDLE_TIMEOUT_SEC = 60;

/** The subprotocol of all our sockets, and the prefix by which a browser hands over its token, as it can set no header. */
export const SUBPROTOCOL = 'wrenn.v1';
export const AUTH_SUBPROTOCOL = 'wrenn.auth.';

interface UserData {
  readonly run: (socket: Socket) => Promise<void>;
  readonly requestId: string;
  session?: WebSocketSession;
}

/** The library's behaviour for one socket route. `opened` and `closed` keep the server's list of live sessions. */
export function socketBehavior(
  route: SocketRoute,
  authorise: Authorise,
  services: Services,
  sessions: Set<WebSocketSession>,
): WebSocketBehavior<UserData> {
  const params = paramNames(route.path).length;
  return {
    maxPayloadLength: MAX_MESSAGE_BYTES,
    maxBackpressure: MAX_BACKPRESSURE_BYTES,
    closeOnBackpressureLimit: true,
    idleTimeout: IDLE_TIMEOUT_SEC,
    sendPingsAutomatically: true,
    upgrade: (res, req, context) => {
      void upgrade(route, res, new Exchange(res, req, params), context, authorise, services);
    },
    open: (ws) => {
      const data = ws.getUserData();
      const session = new WebSocketSession(ws as ConstructorParameters<typeof WebSocketSession>[0]);
      data.session = session;
      sessions.add(session);
      // What it throws at once must not reach the library, which is in the midst of the upgrade.
      const run = async () => data.run(session);
      run().then(
        () => session.close(),
        (error: unknown) => {
          if (!session.signal.aborted) services.log.warn({ err: error, requestId: data.requestId }, 'socket failed');
          session.fail(error);
        },
      );
    },
    message: (ws, message, isBinary) => ws.getUserData().session?.received(message, isBinary),
    drain: (ws) => ws.getUserData().session?.drained(),
    close: (ws) => {
      const { session } = ws.getUserData();
      if (!session) return;
      sessions.delete(session);
      session.ended();
    },
  };
}

async function upgrade(
  route: SocketRoute,
  res: HttpResponse,
  exchange: Exchange,
  context: us_socket_context_t,
  authorise: Authorise,
  services: Services,
): Promise<void> {
  const { head, response } = exchange;
  try {
    const { headers, offered } = liftToken(head.headers);
    const { auth, params, query } = await prepare(route, { ...head, headers }, authorise, services);
    const { signal } = exchange;
    const { requestId, remoteAddress } = head;
    const stream = exchange.body.read(0);
    const run = await route.handler(
      { params, query, body: undefined, stream, auth, signal, headers, requestId, remoteAddress },
      services,
    );
    if (response.over) return;
    const data: UserData = { run, requestId };
    // Never inside `res.cork`, whatever the library's example does: after its callback it tells an upgrade by the socket's
    // new address, and where the allocator kept the old one it reads WebSocket memory as an HTTP response's state and, by
    // chance, closes the connection (seen as 1006 right after the opening, once in a hundred times).
    res.upgrade(
      data,
      head.headers.get('sec-websocket-key') ?? '',
      offered.includes(SUBPROTOCOL) ? SUBPROTOCOL : '',
      head.headers.get('sec-websocket-extensions') ?? '',
      context,
    );
  } catch (error) {
    const log = services.log.child({ requestId: head.requestId, route: `WS ${route.path}` });
    await response.send(errorReply(error, log));
  }
}

/** Turns a `wrenn.auth.<token>` subprotocol into the header that it stands for. */
function liftToken(headers: ReadonlyMap<string, string>): { headers: ReadonlyMap<string, string>; offered: string[] } {
  const offered = (headers.get('sec-websocket-protocol') ?? '').split(',').map((name) => name.trim());
  const token = offered.find((name) => name.startsWith(AUTH_SUBPROTOCOL))?.slice(AUTH_SUBPROTOCOL.length);
  if (token === undefined || headers.has('authorization') || headers.has('x-api-key')) return { headers, offered };
  const lifted = new Map(headers);
  if (/^(wrn|e2b)_/.test(token)) lifted.set('x-api-key', token);
  else lifted.set('authorization', `Bearer ${token}`);
  return { headers: lifted, offered };
}

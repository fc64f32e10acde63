import type { HttpRequest, HttpResponse, TemplatedApp, us_listen_socket, WebSocketBehavior } from 'uWebSockets.js';
import { once } from 'node:events';
import type { SandboxProxy } from '../proxy/proxy.ts';
import { ProxySockets } from '../proxy/sockets.ts';
import type { Services } from '../services.ts';
import { errorReply } from './error-reply.ts';
import { Exchange } from './exchange.ts';
import { paramNames, toPattern, toRegExp } from './path-template.ts';
import type { Authorise } from './prepare.ts';
import { methodNotAllowed, notFound, stopping, upgradeRequired } from './problems.ts';
import type { Method, Route, Routes } from './route.ts';
import { serve } from './serve.ts';
import { type CertificateFiles, TlsListener } from './tls-listener.ts';
import { socketBehavior } from './upgrade.ts';
import { uws } from './uws.ts';
import type { WebSocketSession } from './web-socket.ts';

export interface Server {
  /** Listens; resolves with the port (that of the kernel's choice for 0). */
  listen(address: string, port: number): Promise<number>;
  /** The same over TLS (PX5). */
  listenTls(address: string, port: number, files: CertificateFiles): Promise<number>;
  /** Takes nothing new, lets requests in flight end for `graceMs`, then cuts what is left. */
  stop(graceMs: number): Promise<void>;
}

/**
 * The HTTP server over uWebSockets.js: the API's routes on every host name that is not a sandbox's, and the way into
 * sandboxes on those that are.
 */
export function createServer(
  routes: Routes,
  authorise: Authorise,
  services: Services,
  proxy: SandboxProxy | null = null,
): Server {
  const live = new Set<Exchange>();
  const sessions = new Set<WebSocketSession>();
  const sockets = proxy && new ProxySockets(proxy);
  const idle = new EventTarget();
  let listening: us_listen_socket | false = false;
  let secure: TlsListener | null = null;

  const track = async (exchange: Exchange, work: Promise<void>): Promise<void> => {
    live.add(exchange);
    await work;
    live.delete(exchange);
    if (live.size === 0) idle.dispatchEvent(new Event('idle'));
  };

  const fill = (app: TemplatedApp, tls: boolean): void => {
    /** Requests for sandboxes go the other way, whatever their path. */
    const forApi = (handler: Handler): Handler => {
      if (!proxy) return handler;
      return (res, req) => {
        const address = proxy.addressOf(req);
        if (address === null) handler(res, req);
        else proxy.handle(res, req, address, tls);
      };
    };
    for (const route of routes) {
      if (route.kind === 'socket') {
        const behavior = socketBehavior(route, authorise, services, sessions);
        app.ws(toPattern(route.path), proxy ? yieldingToSandboxes(behavior, proxy) : behavior);
        continue;
      }
      const params = paramNames(route.path).length;
      const handler = (res: HttpResponse, req: HttpRequest) => {
        const exchange = new Exchange(res, req, params);
        void track(exchange, serve(route, exchange, authorise, services));
      };
      register(app, route.method, toPattern(route.path), forApi(handler));
    }
    if (sockets) app.ws('/*', sockets.behavior(tls));
    app.any('/*', forApi(fallback(routes, services)));
  };
  const app = uws.App();
  fill(app, false);

  return {
    listen: (address, port) =>
      new Promise((resolve, reject) => {
        app.listen(address, port, (socket) => {
          listening = socket;
          if (socket) resolve(uws.us_socket_local_port(socket));
          else reject(new Error(`cannot listen on ${address}:${port} (is it in use?)`));
        });
      }),
    listenTls: (address, port, files) => {
      secure = new TlsListener(files, (tlsApp) => fill(tlsApp, true), services.log);
      return secure.listen(address, port);
    },
    stop: async (graceMs) => {
      if (listening) uws.us_listen_socket_close(listening);
      listening = false;
      secure?.stopListening();
      for (const session of sessions) session.goAway();
      sockets?.goAway();
      const proxied = proxy?.stop(graceMs);
      if (live.size > 0) {
        const timeout = AbortSignal.timeout(graceMs);
        await once(idle, 'idle', { signal: timeout }).catch(() => undefined);
      }
      await proxied;
      for (const exchange of live) exchange.stop(stopping());
      app.close();
      await secure?.close();
    },
  };
}

/** A WebSocket of the API, except where the host name is a sandbox's: then the next pattern takes it. */
function yieldingToSandboxes<T>(behavior: WebSocketBehavior<T>, proxy: SandboxProxy): WebSocketBehavior<T> {
  const { upgrade } = behavior;
  return {
    ...behavior,
    upgrade: (res, req, context) => {
      if (proxy.addressOf(req) === null) void upgrade?.(res, req, context);
      else req.setYield(true);
    },
  };
}

type Handler = (res: HttpResponse, req: HttpRequest) => void;

function register(app: TemplatedApp, method: Method, pattern: string, handler: Handler): void {
  if (method === 'GET') app.get(pattern, handler).head(pattern, handler);
  else if (method === 'POST') app.post(pattern, handler);
  else if (method === 'PUT') app.put(pattern, handler);
  else if (method === 'PATCH') app.patch(pattern, handler);
  else app.del(pattern, handler);
}

/** Whatever no route took: 404, 405 with what is allowed, or a browser's preflight. */
function fallback(routes: Routes, services: Services): Handler {
  const known = routes.map((route) => ({ method: methodOf(route), pattern: toRegExp(route.path) }));
  return (res, req) => {
    const exchange = new Exchange(res, req, 0);
    const { path, method } = exchange.head;
    exchange.body.discard();
    const allowed = [...new Set(known.filter(({ pattern }) => pattern.test(path)).map((route) => route.method))];
    if (method === 'OPTIONS' && allowed.length > 0) {
      void exchange.response.send({ status: 204, headers: preflight(allowed) });
      return;
    }
    if (method === 'GET' && allowed.includes('GET')) {
      void exchange.response.send(errorReply(upgradeRequired(), services.log));
      return;
    }
    const error = allowed.length > 0 && !allowed.includes(method as Method) ? methodNotAllowed(allowed) : notFound();
    void exchange.response.send(errorReply(error, services.log));
  };
}

function methodOf(route: Routes[number]): Method {
  return route.kind === 'socket' ? 'GET' : (route as Route).method;
}

/** Ten minutes: the longest that all browsers honour. */
function preflight(allowed: readonly Method[]): Record<string, string> {
  return {
    'access-control-allow-methods': allowed.join(', '),
    'access-control-allow-headers': 'authorization, x-api-key, content-type, idempotency-key, x-request-id',
    'access-control-max-age': '600',
  };
}

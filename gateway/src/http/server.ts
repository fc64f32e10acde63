import type { HttpRequest, HttpResponse, us_listen_socket } from 'uWebSockets.js';
import { once } from 'node:events';
import type { CertificateFiles } from '../proxy/certificate-watch.ts';
import { Door } from '../proxy/door.ts';
import type { SandboxProxy } from '../proxy/proxy.ts';
import type { Services } from '../services.ts';
import { errorReply } from './error-reply.ts';
import { Exchange } from './exchange.ts';
import { paramNames, toPattern, toRegExp } from './path-template.ts';
import type { Authorise } from './prepare.ts';
import { methodNotAllowed, notFound, stopping, upgradeRequired } from './problems.ts';
import type { Method, Route, Routes } from './route.ts';
import { serve } from './serve.ts';
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
 * The HTTP server over uWebSockets.js: the API's routes, and, behind the door that has the port, its questions about
 * requests for sandboxes. Without a proxy (in tests) it listens itself.
 */
export function createServer(
  routes: Routes,
  authorise: Authorise,
  services: Services,
  proxy: SandboxProxy | null = null,
): Server {
  const live = new Set<Exchange>();
  const sessions = new Set<WebSocketSession>();
  const door = proxy && new Door(proxy, services.log);
  const idle = new EventTarget();
  let listening: us_listen_socket | false = false;

  const track = async (exchange: Exchange, work: Promise<void>): Promise<void> => {
    live.add(exchange);
    await work;
    live.delete(exchange);
    if (live.size === 0) idle.dispatchEvent(new Event('idle'));
  };

  /** Questions of the door go the other way, whatever their path. */
  const forApi = (handler: Handler): Handler => {
    if (!proxy) return handler;
    return (res, req) => {
      const address = proxy.addressOf(req);
      if (address === null) handler(res, req);
      else proxy.handle(res, req, address);
    };
  };
  const app = uws.App();
  for (const route of routes) {
    if (route.kind === 'socket') {
      app.ws(toPattern(route.path), socketBehavior(route, authorise, services, sessions));
      continue;
    }
    const params = paramNames(route.path).length;
    const handler = (res: HttpResponse, req: HttpRequest) => {
      const exchange = new Exchange(res, req, params);
      void track(exchange, serve(route, exchange, authorise, services));
    };
    register(app, route.method, toPattern(route.path), forApi(handler));
  }
  app.any('/*', forApi(fallback(routes, services)));

  const listen = (start: (opened: (socket: us_listen_socket | false) => void) => void, where: string) =>
    new Promise<us_listen_socket>((resolve, reject) => {
      start((socket) => {
        listening = socket;
        if (socket) resolve(socket);
        else reject(new Error(`cannot listen on ${where} (is it in use?)`));
      });
    });

  return {
    listen: async (address, port) => {
      if (door) {
        const serve = (path: string) => listen((opened) => app.listen_unix(opened, path), path);
        return door.listen(`${address}:${port}`, serve);
      }
      const socket = await listen((opened) => app.listen(address, port, opened), `${address}:${port}`);
      return uws.us_socket_local_port(socket);
    },
    listenTls: (address, port, files) => {
      if (!door) throw new Error('TLS is the door’s');
      return door.listenTls(`${address}:${port}`, files);
    },
    stop: async (graceMs) => {
      if (listening && !door) uws.us_listen_socket_close(listening);
      for (const session of sessions) session.goAway();
      const drained = door?.drain(graceMs);
      if (live.size > 0) {
        const timeout = AbortSignal.timeout(graceMs);
        await once(idle, 'idle', { signal: timeout }).catch(() => undefined);
      }
      await drained;
      for (const exchange of live) exchange.stop(stopping());
      await door?.close();
      if (listening && door) uws.us_listen_socket_close(listening);
      listening = false;
      app.close();
    },
  };
}

type Handler = (res: HttpResponse, req: HttpRequest) => void;

function register(app: ReturnType<typeof uws.App>, method: Method, pattern: string, handler: Handler): void {
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

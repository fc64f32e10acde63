import type { HttpRequest, HttpResponse, us_socket_context_t, WebSocketBehavior } from 'uWebSockets.js';
import { WrennError } from '@wrenn/core';
import type { MalformedAddress, PortAddress } from './address.ts';
import { answerOf, failures, ProxyFailure } from './failure.ts';
import { dialGuest, type GuestSocket } from './guest-socket.ts';
import { HttpAnswer } from './http-answer.ts';
import { type Arrival, outgoingFields, outgoingPath } from './outgoing-head.ts';
import { PassageFinder, type Way } from './passage.ts';
import { isSecure, type SandboxProxy } from './proxy.ts';
import { type ProxiedHead, readProxied } from './request-fields.ts';
import { accessCookie } from './signed-link.ts';
import { MAX_BACKPRESSURE_BYTES, MAX_MESSAGE_BYTES, SocketRelay } from './socket-relay.ts';

interface UserData {
  readonly relay: SocketRelay;
}

/** WebSockets of sandboxes (PX2): relayed message by message, since the library gives no bytes. */
export class ProxySockets {
  readonly #proxy: SandboxProxy;
  readonly #open = new Set<SocketRelay>();

  constructor(proxy: SandboxProxy) {
    this.#proxy = proxy;
  }

  behavior(tls: boolean): WebSocketBehavior<UserData> {
    return {
      compression: 0, // what a guest has compressed is not compressed again, and the hop is short
      maxPayloadLength: MAX_MESSAGE_BYTES,
      maxBackpressure: MAX_BACKPRESSURE_BYTES,
      closeOnBackpressureLimit: false,
      idleTimeout: 0, // silence may last as long as it likes
      sendPingsAutomatically: false,
      upgrade: (res, req, context) => this.#upgrade(res, req, context, tls),
      open: (ws) => {
        const { relay } = ws.getUserData();
        this.#open.add(relay);
        relay.opened(ws);
      },
      message: (ws, message, isBinary) => ws.getUserData().relay.fromClient(message, isBinary),
      ping: (ws, message) => ws.getUserData().relay.pingFromClient(message),
      pong: (ws, message) => ws.getUserData().relay.pongFromClient(message),
      drain: (ws) => ws.getUserData().relay.drained(),
      close: (ws, code, message) => {
        const { relay } = ws.getUserData();
        this.#open.delete(relay);
        relay.clientClosed(code, Buffer.from(message));
      },
    };
  }

  /** The program stops: clients may come back to another replica. */
  goAway(): void {
    for (const relay of this.#open) relay.goAway();
  }

  #upgrade(res: HttpResponse, req: HttpRequest, context: us_socket_context_t, tls: boolean): void {
    const address = this.#proxy.addressOf(req);
    if (address === null) {
      req.setYield(true); // the API's own answer for a path that has no WebSocket
      return;
    }
    const head = readProxied(req);
    const key = req.getHeader('sec-websocket-key');
    const aborted = new AbortController();
    res.onAborted(() => aborted.abort());
    const arrival = { remoteAddress: Buffer.from(res.getRemoteAddressAsText()).toString('latin1'), tls };
    void this.#connect(res, head, address, arrival, aborted.signal, (guest, relay, fields) => {
      if (fields.length > 0) {
        res.cork(() => {
          res.writeStatus('101 Switching Protocols'); // it would be 200 otherwise
          for (const [name, value] of fields) res.writeHeader(name, value);
        });
      }
      // Never inside `res.cork`: see http/upgrade.ts.
      res.upgrade<UserData>({ relay }, key, guest.protocol, '', context);
    });
  }

  async #connect(
    res: HttpResponse,
    head: ProxiedHead,
    address: PortAddress | MalformedAddress,
    arrival: Arrival,
    signal: AbortSignal,
    upgrade: (guest: GuestSocket, relay: SocketRelay, fields: readonly (readonly [string, string])[]) => void,
  ): Promise<void> {
    const { services, keys, open } = this.#proxy;
    let finder: PassageFinder | null = null;
    let leave: () => void = () => undefined;
    try {
      if (head.fault !== null) throw failures.malformed(head.fault);
      if (address.kind === 'malformed') throw failures.malformed(address.message);
      finder = new PassageFinder(services, keys, address, head);
      const found = finder.find();
      const way = found instanceof Promise ? await found : found;
      const { sandboxId } = address;
      if (!open.enter(sandboxId)) throw failures.tooMany(sandboxId, open.limit);
      leave = () => open.leave(sandboxId);
      const answer = await this.#dial(head, finder, way, arrival, signal);
      if (signal.aborted) {
        if (answer.kind === 'open') answer.socket.terminate();
        leave();
      } else if (answer.kind === 'open') {
        const fields = finder.link ? [['set-cookie', accessCookie(finder.link, isSecure(head, arrival))] as const] : [];
        upgrade(answer, new SocketRelay(answer.socket, leave), [...answer.fields, ...fields]);
      } else {
        leave();
        const refused = new HttpAnswer(res, false);
        refused.send(answer.status, answer.fields, answer.body, true);
      }
    } catch (error) {
      leave();
      if (signal.aborted) return;
      const known = error instanceof ProxyFailure ? error : this.#unforeseen(error);
      const { status, fields, body } = answerOf(known, {
        e2b: finder?.e2b ?? address.byHeaders,
        accept: head.accept,
      });
      new HttpAnswer(res, false).send(status, fields, body, true);
    }
  }

  async #dial(head: ProxiedHead, finder: PassageFinder, first: Way, arrival: Arrival, signal: AbortSignal) {
    let way = first;
    for (let tries = 0; ; tries += 1) {
      const answer = await dialGuest({
        address: way.agent.endpoint.address,
        path: outgoingPath(way.passage),
        fields: outgoingFields(head, way.passage, arrival),
        signal,
      });
      if (answer.kind === 'failed') throw signal.aborted ? signal.reason : await finder.afterFailure(answer.failure);
      if (answer.kind !== 'refused' || answer.frontError === null) return answer;
      const next = await finder.findAgain(answer.frontError, way);
      if (tries > 0) throw failures.inTransition(way.passage.address.sandboxId, {}, 'Try again.');
      way = next;
    }
  }

  #unforeseen(error: unknown): ProxyFailure {
    if (!(error instanceof WrennError)) this.#proxy.services.log.error({ err: error }, 'proxied WebSocket failed');
    const own = error instanceof WrennError ? error : new WrennError('internal', 'Something went wrong here.');
    return new ProxyFailure(own, { code: own.status, message: own.message });
  }
}

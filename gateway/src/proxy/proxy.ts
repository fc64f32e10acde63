import type { HttpRequest, HttpResponse } from 'uWebSockets.js';
import { WrennError } from '@wrenn/core';
import type { Services } from '../services.ts';
import { Addresses, type MalformedAddress, type PortAddress } from './address.ts';
import { BodyPipe } from './body-pipe.ts';
import { type Audience, answerOf, failures, ProxyFailure } from './failure.ts';
import { HttpRelay } from './http-relay.ts';
import { KeyTeams } from './key-teams.ts';
import { OpenCount } from './open-count.ts';
import { type Arrival, outgoingHead } from './outgoing-head.ts';
import { PassageFinder, type Way } from './passage.ts';
import { type ProxiedHead, readProxied } from './request-fields.ts';
import { accessCookie } from './signed-link.ts';

const IDEMPOTENT: ReadonlySet<string> = new Set(['GET', 'HEAD', 'OPTIONS', 'TRACE', 'PUT', 'DELETE']);

/**
 * The way into sandboxes (PX1–PX3): requests whose host name or headers name a port of one go to the agent of its host and
 * on to the guest, as bytes. Nothing here writes or asks the database per request.
 */
export class SandboxProxy {
  readonly services: Services;
  readonly keys: KeyTeams;
  readonly open: OpenCount;
  readonly #addresses: Addresses;
  readonly #relays = new Set<HttpRelay>();
  #idle: (() => void) | null = null;

  constructor(services: Services) {
    this.services = services;
    this.keys = new KeyTeams(services.sql, services.keyUsage);
    this.open = new OpenCount(services.config.WRENN_PROXY_MAX_OPEN);
    this.#addresses = new Addresses(services.config.WRENN_DOMAIN);
  }

  /** Null: the request is the API's. To be asked in the tick in which the request arrives. */
  addressOf(req: HttpRequest): PortAddress | MalformedAddress | null {
    return this.#addresses.read(req.getHeader('host'), (name) => req.getHeader(name));
  }

  /** Serves one request for a sandbox. */
  handle(res: HttpResponse, req: HttpRequest, address: PortAddress | MalformedAddress, tls: boolean): void {
    const head = readProxied(req);
    const hasBody = head.body !== null && head.body !== 0 && head.fault === null;
    const body = hasBody ? new BodyPipe(res, head.body === 'chunked') : null;
    const relay = new HttpRelay(res, head.method === 'HEAD', body);
    res.onAborted(() => relay.aborted());
    const arrival = { remoteAddress: Buffer.from(res.getRemoteAddressAsText()).toString('latin1'), tls };
    this.#relays.add(relay);
    void this.#serve(relay, head, address, arrival).finally(() => {
      this.#relays.delete(relay);
      if (this.#relays.size === 0) this.#idle?.();
    });
  }

  /** Resolves when no request is under way; those that are after `graceMs` are cut. */
  async stop(graceMs: number): Promise<void> {
    if (this.#relays.size > 0) {
      let timer: NodeJS.Timeout | undefined;
      await new Promise<void>((resolve) => {
        this.#idle = resolve;
        timer = setTimeout(resolve, graceMs);
      });
      clearTimeout(timer);
    }
    for (const relay of this.#relays) relay.cut();
  }

  async #serve(
    relay: HttpRelay,
    head: ProxiedHead,
    address: PortAddress | MalformedAddress,
    arrival: Arrival,
  ): Promise<void> {
    let finder: PassageFinder | null = null;
    let entered = false;
    try {
      if (head.fault !== null) throw failures.malformed(head.fault);
      if (address.kind === 'malformed') throw failures.malformed(address.message);
      if (head.upgrade !== null && head.upgrade !== 'h2c') throw failures.upgrade(head.upgrade); // h2c may be ignored
      finder = new PassageFinder(this.services, this.keys, address, head);
      const found = finder.find();
      const way = found instanceof Promise ? await found : found;
      entered = this.open.enter(address.sandboxId);
      if (!entered) throw failures.tooMany(address.sandboxId, this.open.limit);
      await this.#pass(relay, head, finder, way, arrival);
    } catch (error) {
      const audience = { e2b: finder?.e2b ?? address.byHeaders, accept: head.accept };
      // A body that is not wanted is not waited for.
      this.#refuse(relay, error, audience, head.fault !== null || head.body !== null);
    } finally {
      if (entered && address.kind === 'port') this.open.leave(address.sandboxId);
    }
  }

  async #pass(relay: HttpRelay, head: ProxiedHead, finder: PassageFinder, first: Way, arrival: Arrival): Promise<void> {
    const added = finder.link ? [['set-cookie', accessCookie(finder.link, isSecure(head, arrival))] as const] : [];
    let way = first;
    for (let tries = 0; ; tries += 1) {
      const request = {
        head: outgoingHead(head, way.passage, arrival),
        idempotent: IDEMPOTENT.has(head.method),
        added,
      };
      const outcome = await relay.send(way.agent.raw, request);
      if (outcome.kind === 'answered' || outcome.kind === 'aborted') return;
      if (outcome.kind === 'failed') throw await finder.afterFailure(outcome.failure);
      const next = await finder.findAgain(outcome.code, way);
      if (tries > 0 || !relay.repeatable) throw failures.inTransition(way.passage.address.sandboxId, {}, 'Try again.');
      way = next;
    }
  }

  #refuse(relay: HttpRelay, error: unknown, audience: Audience, close: boolean): void {
    if (relay.answer.over) return;
    const known = error instanceof ProxyFailure ? error : this.#unforeseen(error);
    const { status, fields, body } = answerOf(known, audience);
    relay.answer.send(status, fields, body, close);
  }

  #unforeseen(error: unknown): ProxyFailure {
    if (!(error instanceof WrennError)) this.services.log.error({ err: error }, 'proxied request failed');
    const own = error instanceof WrennError ? error : new WrennError('internal', 'Something went wrong here.');
    return new ProxyFailure(own, { code: own.status, message: own.message });
  }
}

export function isSecure(head: ProxiedHead, { tls }: Arrival): boolean {
  return tls || head.forwardedProto === 'https';
}

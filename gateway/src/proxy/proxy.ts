import type { HttpRequest, HttpResponse } from 'uWebSockets.js';
import { randomBytes } from 'node:crypto';
import { STATUS_CODES } from 'node:http';
import { WrennError } from '@wrenn/core';
import type { Services } from '../services.ts';
import { Addresses, type MalformedAddress, type PortAddress } from './address.ts';
import { answerOf, type FailureAnswer, failures, ProxyFailure } from './failure.ts';
import { KeyTeams } from './key-teams.ts';
import { PassageFinder, type Way } from './passage.ts';
import { type Question, readQuestion } from './question.ts';

/**
 * The way into sandboxes (PX1–PX3), as far as it is decided: the door (native/addon/src/door) has every connection of
 * clients, and asks here, by a request with the client's head, where it may go. The answer is a way, in the header
 * `wrenn-way`, or what the client is told instead. Bytes of sandboxes never come here.
 */
export class SandboxProxy {
  readonly services: Services;
  readonly keys: KeyTeams;
  /** Proves that the door asks, not a client. */
  readonly token = randomBytes(24).toString('base64url');
  readonly #addresses: Addresses;

  constructor(services: Services) {
    this.services = services;
    this.keys = new KeyTeams(services.sql, services.keyUsage);
    this.#addresses = new Addresses(services.config.WRENN_DOMAIN);
  }

  /** What follows the label of a sandbox's host name. */
  get suffix(): string {
    return this.#addresses.suffix;
  }

  /** Requests and sockets that may be open to one sandbox. */
  get limit(): number {
    return this.services.config.WRENN_PROXY_MAX_OPEN;
  }

  /** Null: the request is the API's. To be asked in the tick in which the request arrives. */
  addressOf(req: HttpRequest): PortAddress | MalformedAddress | null {
    return this.#addresses.read(req.getHeader('host'), (name) => req.getHeader(name));
  }

  /** Answers the door. */
  handle(res: HttpResponse, req: HttpRequest, address: PortAddress | MalformedAddress): void {
    const question = readQuestion(req, this.token);
    const headOnly = req.getMethod() === 'head';
    let gone = false;
    res.onAborted(() => {
      gone = true;
    });
    void this.#answer(question, address).then((answer) => {
      if (gone) return;
      res.cork(() => {
        if ('body' in answer) writeFailure(res, answer, headOnly);
        else res.writeHeader('wrenn-way', asciiJson(answer)).endWithoutBody(0);
      });
    });
  }

  async #answer(question: Question | null, address: PortAddress | MalformedAddress): Promise<Way | FailureAnswer> {
    let finder: PassageFinder | null = null;
    try {
      if (question === null) throw failures.malformed('The request is malformed.');
      if (address.kind === 'malformed') throw failures.malformed(address.message);
      const { reason } = question;
      if (reason.kind === 'upgrade') throw failures.upgrade(reason.protocol);
      finder = new PassageFinder(this.services, this.keys, address, question);
      if (reason.kind === 'first') return await finder.find();
      if (reason.kind === 'full') throw await finder.whyFull(this.limit);
      if (reason.kind === 'failed') throw await finder.afterFailure(reason.failure);
      const way = await finder.findAgain(reason.code, reason.incarnation);
      if (!reason.repeatable) throw failures.inTransition(address.sandboxId, {}, 'Try again.');
      return way;
    } catch (error) {
      const known = error instanceof ProxyFailure ? error : this.#unforeseen(error);
      return answerOf(known, { e2b: finder?.e2b ?? address.byHeaders, accept: question?.accept ?? '' });
    }
  }

  #unforeseen(error: unknown): ProxyFailure {
    if (!(error instanceof WrennError)) this.services.log.error({ err: error }, 'a way into a sandbox was not found');
    const own = error instanceof WrennError ? error : new WrennError('internal', 'Something went wrong here.');
    return new ProxyFailure(own, { code: own.status, message: own.message });
  }
}

function writeFailure(res: HttpResponse, { status, fields, body }: FailureAnswer, headOnly: boolean): void {
  res.writeStatus(`${status} ${STATUS_CODES[status] ?? 'Unknown'}`);
  for (const [name, value] of fields) res.writeHeader(name, value);
  if (headOnly) res.endWithoutBody(Buffer.byteLength(body));
  else res.end(body);
}

/** Fit for a header. */
function asciiJson(value: object): string {
  return JSON.stringify(value).replace(
    /[\u007f-\uffff]/g,
    (unit) => `\\u${unit.charCodeAt(0).toString(16).padStart(4, '0')}`,
  );
}
